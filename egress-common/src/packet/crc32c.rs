//! How a CRC32c changes when two bytes of what it covers do (RFC 9260 appendix A; the polynomial is Castagnoli's). A CRC is
//! linear, so the difference depends on the changed bytes and on how many follow, not on what those are: SCTP's ports are
//! translated without reading the packet's data.

/// The polynomial with its bits reflected: bit 31 stands for x^0.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Bits of the longest distance: 65535 bytes and the two that change.
const STEPS: usize = 17;

/// `MOVED[k][i][n]`: the register with `n` in its `i`-th four bits and nothing else, after 2^k bytes of zeros. Tables, because a
/// verifier would follow a bit-wise product down both sides of every bit.
static MOVED: [[[u32; 16]; 8]; STEPS] = {
    let mut table = [[[0; 16]; 8]; STEPS];
    // x^8
    let mut power = 1 << 23;
    let mut k = 0;
    while k < STEPS {
        let mut n = 0;
        while n < 8 * 16 {
            table[k][n / 16][n % 16] = multiply(power, (n as u32 % 16) << (n / 16 * 4));
            n += 1;
        }
        power = multiply(power, power);
        k += 1;
    }
    table
};

/// The product of two polynomials modulo [`POLYNOMIAL`].
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 0;
    while bit < 32 {
        if a << bit >> 31 != 0 {
            product ^= b;
        }
        b = if b & 1 != 0 { b >> 1 ^ POLYNOMIAL } else { b >> 1 };
        bit += 1;
    }
    product
}

/// What the CRC (as the number whose little-endian bytes stand in the packet) changes by when `from` becomes `to`, two bytes
/// each as they stand in memory, with `behind` bytes (at most 65535) after them.
#[inline(always)]
#[must_use]
pub fn diff(from: [u8; 2], to: [u8; 2], behind: u32) -> u32 {
    // Bytes go into the low end of the register, so these are its state two bytes before they are through.
    let mut register = u32::from(u16::from_le_bytes(from) ^ u16::from_le_bytes(to));
    let distance = behind + 2;
    for (k, table) in MOVED.iter().enumerate() {
        if distance >> k & 1 != 0 {
            let mut moved = 0;
            for (i, nibble) in table.iter().enumerate() {
                moved ^= nibble[(register >> (4 * i) & 0xf) as usize];
            }
            register = moved;
        }
    }
    register
}

#[cfg(test)]
mod tests;
