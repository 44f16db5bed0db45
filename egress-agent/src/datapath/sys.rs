//! The few `bpf(2)` calls that aya does not offer: batch lookups and what a link is attached to.

use std::{
    ffi::CString,
    io,
    mem::{size_of, zeroed},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use nix::libc;

const BPF_OBJ_GET: u32 = 7;
const BPF_OBJ_GET_INFO_BY_FD: u32 = 15;
const BPF_MAP_LOOKUP_BATCH: u32 = 24;

/// `union bpf_attr`, the three shapes that are used here. Fields as in linux/bpf.h.
#[repr(C)]
union Attr {
    obj: ObjAttr,
    info: InfoAttr,
    batch: BatchAttr,
    size: [u64; 16],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct ObjAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// `struct bpf_link_info` up to the TCX part.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkInfo {
    /// `BPF_LINK_TYPE_*`; TCX is 11.
    pub kind: u32,
    /// Link id.
    pub id: u32,
    /// Id of the program that it runs.
    pub prog_id: u32,
    pad: u32,
    /// Interface, in its own namespace's numbers; 0 once the interface is gone.
    pub ifindex: u32,
    /// `BPF_TCX_INGRESS` 46, `BPF_TCX_EGRESS` 47.
    pub attach_type: u32,
    rest: [u64; 16],
}

fn bpf(command: u32, attr: &mut Attr) -> io::Result<i64> {
    // SAFETY: `attr` is a whole, initialised union; every pointer in it is valid for the call, as its caller below ensures.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<Attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn attr() -> Attr {
    // SAFETY: all zero is a valid value of every variant.
    unsafe { zeroed() }
}

/// Opens a pinned object.
pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = attr();
    attr.obj = ObjAttr { pathname: name.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    let fd = bpf(BPF_OBJ_GET, &mut attr)?;
    // SAFETY: the call made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).map_err(io::Error::other)?) })
}

/// What a pinned link is attached to.
pub fn link_info(path: &Path) -> io::Result<LinkInfo> {
    let fd = open_pin(path)?;
    let mut info = LinkInfo::default();
    let mut attr = attr();
    attr.info = InfoAttr {
        bpf_fd: fd.as_raw_fd().unsigned_abs(),
        info_len: u32::try_from(size_of::<LinkInfo>()).unwrap_or(0),
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

/// Walks a hash map in batches of up to `size` entries. A bucket is read at once and entries never change theirs, so an entry that
/// stays is seen exactly once a round, however long it takes; one that comes or goes meanwhile may be seen or not.
pub struct Batches<K, V> {
    map: OwnedFd,
    cursor: Option<[u8; 8]>,
    done: bool,
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K: aya::Pod, V: aya::Pod> Batches<K, V> {
    /// Starts at the map's first bucket. K and V must be the map's types.
    pub fn new(map: OwnedFd, size: usize) -> Self {
        Self { map, cursor: None, done: false, keys: Vec::with_capacity(size), values: Vec::with_capacity(size) }
    }

    /// The next batch; none at the end of a round, and what is asked for next begins another.
    pub fn next_batch(&mut self) -> io::Result<Option<(&[K], &[V])>> {
        if std::mem::take(&mut self.done) {
            self.cursor = None;
            return Ok(None);
        }
        loop {
            let size = self.keys.capacity().min(self.values.capacity());
            self.keys.clear();
            self.values.clear();
            let mut next = [0u8; 8];
            let mut attr = attr();
            attr.batch = BatchAttr {
                in_batch: self.cursor.as_ref().map_or(0, |c| c.as_ptr() as u64),
                out_batch: next.as_mut_ptr() as u64,
                keys: self.keys.as_mut_ptr() as u64,
                values: self.values.as_mut_ptr() as u64,
                count: u32::try_from(size).unwrap_or(u32::MAX),
                map_fd: self.map.as_raw_fd().unsigned_abs(),
                elem_flags: 0,
                flags: 0,
            };
            match bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => self.done = true,
                // One bucket holds more than the batch.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    self.keys.reserve(size * 2);
                    self.values.reserve(size * 2);
                    continue;
                }
                Err(error) => return Err(error),
            }
            // SAFETY: the kernel wrote `count` there, and as many entries into both buffers, whose capacity it was told.
            unsafe {
                let count = attr.batch.count as usize;
                self.keys.set_len(count.min(size));
                self.values.set_len(count.min(size));
            }
            self.cursor = Some(next);
            return Ok(Some((&self.keys, &self.values)));
        }
    }
}
