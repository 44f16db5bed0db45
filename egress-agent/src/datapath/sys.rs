//! The few `bpf(2)` calls that aya does not offer: batch lookups, what a link is attached to, and maps whose types only the
//! build knows that made them.

use std::{
    ffi::CString,
    io,
    mem::{MaybeUninit, size_of, zeroed},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use nix::libc;

const BPF_MAP_CREATE: u32 = 0;
const BPF_MAP_LOOKUP_ELEM: u32 = 1;
const BPF_MAP_UPDATE_ELEM: u32 = 2;
const BPF_OBJ_PIN: u32 = 6;
const BPF_OBJ_GET: u32 = 7;
const BPF_OBJ_GET_INFO_BY_FD: u32 = 15;
const BPF_MAP_FREEZE: u32 = 22;
const BPF_MAP_LOOKUP_BATCH: u32 = 24;

const BPF_LINK_CREATE: u32 = 28;
const BPF_LINK_UPDATE: u32 = 29;
const BPF_LINK_DETACH: u32 = 34;

/// `BPF_XDP` of `enum bpf_attach_type`, and `XDP_FLAGS_DRV_MODE` of linux/if_link.h.
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_DEVMAP: u32 = 14;

/// `union bpf_attr`, the shapes that are used here. Fields as in linux/bpf.h.
#[repr(C)]
union Attr {
    obj: ObjAttr,
    info: InfoAttr,
    batch: BatchAttr,
    element: ElementAttr,
    create: CreateAttr,
    link: LinkAttr,
    update: UpdateAttr,
    size: [u64; 16],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct ElementAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
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
struct LinkAttr {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct UpdateAttr {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
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

/// `struct bpf_link_info` up to the TCX part; XDP's has its interface in the same place.
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

/// Takes a pinned link off its interface at once. Without its pin it would go as well, but in the kernel's own time.
pub fn detach_link(path: &Path) -> io::Result<()> {
    let link = open_pin(path)?;
    let mut attr = attr();
    // Its one field lies where that one's first does.
    attr.info = InfoAttr { bpf_fd: link.as_raw_fd().unsigned_abs(), info_len: 0, info: 0 };
    bpf(BPF_LINK_DETACH, &mut attr).map(|_| ())
}

/// Attaches an XDP program to an interface in the driver, never elsewhere, and pins the link. Whatever is there already is not
/// replaced: `EBUSY`. An interface whose driver has no XDP: `EOPNOTSUPP`.
pub fn link_xdp(program: BorrowedFd<'_>, ifindex: u32, pin: &Path) -> io::Result<()> {
    let mut attr = attr();
    attr.link = LinkAttr {
        prog_fd: program.as_raw_fd().unsigned_abs(),
        target_ifindex: ifindex,
        attach_type: BPF_XDP,
        flags: XDP_FLAGS_DRV_MODE,
    };
    let fd = bpf(BPF_LINK_CREATE, &mut attr)?;
    // SAFETY: the call made this descriptor for us.
    let link = unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).map_err(io::Error::other)?) };
    pin_object(link.as_fd(), pin)
}

/// Replaces the program of a pinned link at once.
pub fn update_link(pin: &Path, program: BorrowedFd<'_>) -> io::Result<()> {
    let link = open_pin(pin)?;
    let mut attr = attr();
    attr.update = UpdateAttr {
        link_fd: link.as_raw_fd().unsigned_abs(),
        new_prog_fd: program.as_raw_fd().unsigned_abs(),
        flags: 0,
        old_prog_fd: 0,
    };
    bpf(BPF_LINK_UPDATE, &mut attr).map(|_| ())
}

fn pin_object(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = attr();
    attr.obj = ObjAttr { pathname: name.as_ptr() as u64, bpf_fd: object.as_raw_fd().unsigned_abs(), file_flags: 0 };
    bpf(BPF_OBJ_PIN, &mut attr).map(|_| ())
}

/// Makes an array of one value, which nobody can change any more, and pins it.
pub fn pin_text(path: &Path, name: [u8; 16], value: &[u8]) -> io::Result<()> {
    let map = create(BPF_MAP_TYPE_ARRAY, name, value.len(), 1)?;
    update(map.as_fd(), 0, value)?;
    let mut attr = attr();
    attr.obj = ObjAttr { pathname: u64::from(map.as_raw_fd().unsigned_abs()), bpf_fd: 0, file_flags: 0 };
    bpf(BPF_MAP_FREEZE, &mut attr)?;
    pin_object(map.as_fd(), path)
}

/// Makes a map of so many interfaces, by index, and pins it.
pub fn pin_devices(path: &Path, name: [u8; 16], entries: usize) -> io::Result<OwnedFd> {
    let map = create(BPF_MAP_TYPE_DEVMAP, name, 4, entries)?;
    pin_object(map.as_fd(), path)?;
    Ok(map)
}

/// Makes a map whose keys are the numbers from 0 on.
fn create(kind: u32, name: [u8; 16], value: usize, entries: usize) -> io::Result<OwnedFd> {
    let mut attr = attr();
    attr.create = CreateAttr {
        map_type: kind,
        key_size: 4,
        value_size: u32::try_from(value).map_err(io::Error::other)?,
        max_entries: u32::try_from(entries).map_err(io::Error::other)?,
        map_flags: 0,
        inner_map_fd: 0,
        numa_node: 0,
        map_name: name,
    };
    let fd = bpf(BPF_MAP_CREATE, &mut attr)?;
    // SAFETY: the call made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).map_err(io::Error::other)?) })
}

fn element<K>(map: BorrowedFd<'_>, key: &K, value: u64) -> Attr {
    let mut attr = attr();
    let key = std::ptr::from_ref(key) as u64;
    attr.element = ElementAttr { map_fd: map.as_raw_fd().unsigned_abs(), pad: 0, key, value, flags: 0 };
    attr
}

/// Reads an entry of an array into `value`, which must have the size of the map's values.
pub fn lookup(map: BorrowedFd<'_>, index: u32, value: &mut [u8]) -> io::Result<()> {
    bpf(BPF_MAP_LOOKUP_ELEM, &mut element(map, &index, value.as_mut_ptr() as u64)).map(|_| ())
}

/// Reads an entry, if there is one. K and V must be the map's types.
pub fn read<K: aya::Pod, V: aya::Pod>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let mut value = MaybeUninit::<V>::uninit();
    match bpf(BPF_MAP_LOOKUP_ELEM, &mut element(map, key, value.as_mut_ptr() as u64)) {
        // SAFETY: the kernel wrote a whole value.
        Ok(_) => Ok(Some(unsafe { value.assume_init() })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes an entry of an array; `value` must have the size of the map's values.
pub fn update(map: BorrowedFd<'_>, index: u32, value: &[u8]) -> io::Result<()> {
    bpf(BPF_MAP_UPDATE_ELEM, &mut element(map, &index, value.as_ptr() as u64)).map(|_| ())
}

/// Walks a map in batches of up to `size` entries. A bucket is read at once and entries never change theirs, so an entry that
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
            let found = batch(
                self.map.as_fd(),
                self.cursor.as_ref(),
                self.keys.as_mut_ptr().cast(),
                self.values.as_mut_ptr().cast(),
                size,
            )?;
            let Some(found) = found else {
                // One bucket holds more than the batch.
                self.keys.reserve(size * 2);
                self.values.reserve(size * 2);
                continue;
            };
            // SAFETY: the kernel wrote as many entries into both buffers, whose capacity it was told.
            unsafe {
                self.keys.set_len(found.count);
                self.values.set_len(found.count);
            }
            self.done = found.last;
            self.cursor = Some(found.cursor);
            return Ok(Some((&self.keys, &self.values)));
        }
    }
}

/// Likewise, where only the map knows how long keys and values are.
pub struct RawBatches<'a> {
    map: BorrowedFd<'a>,
    sizes: (usize, usize),
    cursor: Option<[u8; 8]>,
    done: bool,
    room: usize,
    keys: Vec<u8>,
    values: Vec<u8>,
}

impl<'a> RawBatches<'a> {
    /// Starts at the map's first bucket; `sizes` are those of the map's keys and values.
    pub fn new(map: BorrowedFd<'a>, sizes: (usize, usize), room: usize) -> Self {
        Self { map, sizes, cursor: None, done: false, room, keys: Vec::new(), values: Vec::new() }
    }

    /// The next batch, until there is none: each key with its value.
    pub fn next_batch(&mut self) -> io::Result<Option<impl Iterator<Item = (&[u8], &[u8])>>> {
        if self.done {
            return Ok(None);
        }
        let found = loop {
            self.keys.resize(self.room * self.sizes.0, 0);
            self.values.resize(self.room * self.sizes.1, 0);
            let (keys, values) = (self.keys.as_mut_ptr(), self.values.as_mut_ptr());
            match batch(self.map, self.cursor.as_ref(), keys, values, self.room)? {
                Some(found) => break found,
                None => self.room *= 2,
            }
        };
        self.done = found.last;
        self.cursor = Some(found.cursor);
        let pairs = self.keys.chunks_exact(self.sizes.0).zip(self.values.chunks_exact(self.sizes.1));
        Ok(Some(pairs.take(found.count)))
    }
}

struct Found {
    count: usize,
    cursor: [u8; 8],
    last: bool,
}

/// One call; none if a bucket holds more than `size` entries. Both buffers must have room for so many.
fn batch(
    map: BorrowedFd<'_>,
    cursor: Option<&[u8; 8]>,
    keys: *mut u8,
    values: *mut u8,
    size: usize,
) -> io::Result<Option<Found>> {
    let mut next = [0u8; 8];
    let mut attr = attr();
    attr.batch = BatchAttr {
        in_batch: cursor.map_or(0, |c| c.as_ptr() as u64),
        out_batch: next.as_mut_ptr() as u64,
        keys: keys as u64,
        values: values as u64,
        count: u32::try_from(size).unwrap_or(u32::MAX),
        map_fd: map.as_raw_fd().unsigned_abs(),
        elem_flags: 0,
        flags: 0,
    };
    let last = match bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) {
        Ok(_) => false,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
        Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => return Ok(None),
        Err(error) => return Err(error),
    };
    // SAFETY: the kernel wrote it, also where it found the end.
    let count = unsafe { attr.batch.count } as usize;
    Ok(Some(Found { count: count.min(size), cursor: next, last }))
}
