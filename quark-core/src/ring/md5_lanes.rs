//! The first word of the MD5 of many short texts at once.
//!
//! One MD5 is a chain of steps that wait for each other, and most of the processor idles. Several texts are hashed in the
//! time of one when each step works on a vector of them. The arithmetic below is written once, for any number of lanes,
//! and the compiler makes vector instructions of it: those that every processor has, or AVX2 or AVX-512 where this one has
//! them. What that buys, `cargo xtask bench --only lookup` prints.

use std::hint::black_box;
use std::sync::LazyLock;

/// The first word of the MD5 of a text that is at most [`LONGEST`] bytes long and comes in parts.
pub(super) fn first_word(parts: &[&[u8]]) -> u32 {
    let (mut text, mut length) = ([0u8; LONGEST], 0);
    for part in parts {
        text[length..length + part.len()].copy_from_slice(part);
        length += part.len();
    }
    let mut blocks = [[0]; 16];
    put(&mut blocks, 0, &text[..length]);
    let [word] = first_words(&blocks);
    word
}

/// How many texts are hashed together.
pub(super) const LANES: usize = 16;
/// Longer texts need a second block.
pub(super) const LONGEST: usize = 55;

/// The blocks of several texts: the first words of all, the second words, and so on.
type Blocks<const N: usize> = [[u32; N]; 16];

/// Texts that wait to be hashed together.
pub(super) struct Lanes(Blocks<LANES>);

impl Lanes {
    pub(super) fn new() -> Self {
        Self([[0; LANES]; 16])
    }

    /// Puts a text of at most [`LONGEST`] bytes in a lane.
    pub(super) fn put(&mut self, lane: usize, text: &[u8]) {
        put(&mut self.0, lane, text);
    }

    /// The first words of the digests, little-endian, by lane; of a lane that nothing was put in, something.
    pub(super) fn first_words(&self) -> [u32; LANES] {
        static FASTEST: LazyLock<Way> = LazyLock::new(|| ways()[0]);
        FASTEST(&self.0)
    }
}

type Way = fn(&Blocks<LANES>) -> [u32; LANES];

/// What this processor can do, the fastest first.
fn ways() -> Vec<Way> {
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
    let mut ways: Vec<Way> = vec![first_words_by_four];
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2, which is all that the function asks for.
            ways.insert(0, |blocks| unsafe { first_words_avx2(blocks) });
        }
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512F, which is all that the function asks for.
            ways.insert(0, |blocks| unsafe { first_words_avx512(blocks) });
        }
    }
    ways
}

fn put<const N: usize>(blocks: &mut Blocks<N>, lane: usize, text: &[u8]) {
    let mut block = [0u8; 64];
    block[..text.len()].copy_from_slice(text);
    block[text.len()] = 0x80;
    let bits = u32::try_from(text.len() * 8).expect("one block");
    for (words, bytes) in blocks.iter_mut().zip(block.as_chunks().0) {
        words[lane] = u32::from_le_bytes(*bytes);
    }
    blocks[14][lane] = bits;
}

/// As [`first_words`], with wider vectors. Without them a batch of keys would cost about twice as much, which is why
/// there is unsafe code.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn first_words_avx2(blocks: &Blocks<LANES>) -> [u32; LANES] {
    first_words(blocks)
}

/// All lanes in one vector, and an instruction for each turn. That takes a quarter less time than AVX2 does.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn first_words_avx512(blocks: &Blocks<LANES>) -> [u32; LANES] {
    first_words(blocks)
}

/// With the vectors of four that every processor has; more lanes would not fit into its registers.
fn first_words_by_four(blocks: &Blocks<LANES>) -> [u32; LANES] {
    let mut all = [0; LANES];
    for (i, four) in all.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *four = first_words(&blocks.map(|words| words.as_chunks().0[i]));
    }
    all
}

/// RFC 1321 for one block in each lane, up to the step after which the first word stays as it is.
///
/// Each step waits for the one before it, which gives `b`: the fewer operations come after `b`, the sooner it ends. So a sum
/// has what is there already first. In vectors an operation saved counts for more.
#[inline(always)]
fn first_words<const N: usize>(blocks: &Blocks<N>) -> [u32; N] {
    const FIRST: u32 = 0x6745_2301;
    let (mut a, mut b) = ([FIRST; N], [0xefcd_ab89; N]);
    let (mut c, mut d) = ([0x98ba_dcfe; N], [0x1032_5476; N]);
    let is_one = N == 1;
    // The compiler adds what it knows last, after `b`, so one that waits for `b` must not let it know.
    let sines = if is_one { black_box(&SINES) } else { &SINES };

    macro_rules! step {
        ($f:expr, $a:ident, $b:ident, $c:ident, $d:ident, $word:expr, $step:expr, $turn:literal) => {
            for lane in 0..N {
                let early = $a[lane].wrapping_add(blocks[$word % 16][lane]).wrapping_add(sines[$step]);
                let sum: u32 = $f(early, $b[lane], $c[lane], $d[lane]);
                $a[lane] = sum.rotate_left($turn).wrapping_add($b[lane]);
            }
        };
    }
    // Four steps from $i on, after which the four words have changed places once around; word number $m * i + $p.
    macro_rules! four {
        ($f:expr, $i:literal, $m:literal, $p:literal, [$t0:literal $t1:literal $t2:literal $t3:literal]) => {
            step!($f, a, b, c, d, $i * $m + $p, $i, $t0);
            step!($f, d, a, b, c, ($i + 1) * $m + $p, $i + 1, $t1);
            step!($f, c, d, a, b, ($i + 2) * $m + $p, $i + 2, $t2);
            step!($f, b, c, d, a, ($i + 3) * $m + $p, $i + 3, $t3);
        };
    }
    macro_rules! steps {
        ($f:expr, [$($i:literal)*], $m:literal, $p:literal, $turns:tt) => { $( four!($f, $i, $m, $p, $turns); )* };
    }
    let first = |sum: u32, b: u32, c: u32, d: u32| sum.wrapping_add(d ^ (b & (c ^ d)));
    // Either bit comes from `b` or from `c`, so that they may be added one after the other.
    let second = |sum: u32, b: u32, c: u32, d: u32| match is_one {
        true => sum.wrapping_add(c & !d).wrapping_add(b & d),
        false => sum.wrapping_add(c ^ (d & (b ^ c))),
    };
    let third = |sum: u32, b: u32, c: u32, d: u32| sum.wrapping_add(b ^ (c ^ d));
    let last = |sum: u32, b: u32, c: u32, d: u32| sum.wrapping_add(c ^ (b | !d));
    steps!(first, [0 4 8 12], 1, 0, [7 12 17 22]);
    steps!(second, [16 20 24 28], 5, 1, [5 9 14 20]);
    steps!(third, [32 36 40 44], 3, 5, [4 11 16 23]);
    steps!(last, [48 52 56], 7, 0, [6 10 15 21]);
    step!(last, a, b, c, d, 60 * 7, 60, 6);
    a.map(|word| word.wrapping_add(FIRST))
}

/// `floor(2^32 * abs(sin(i + 1)))`, as the RFC lists them.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

#[cfg(test)]
mod tests {
    use super::*;
    use md5::{Digest as _, Md5};

    fn hash(text: &str) -> u32 {
        let digest = Md5::digest(text);
        u32::from_le_bytes(digest[..4].try_into().unwrap())
    }

    #[test]
    fn every_lane_has_the_hash_of_its_text() {
        let text: String = ('!'..='~').cycle().take(LONGEST).collect();
        // All lengths in all lanes.
        for shift in 0..LANES {
            for from in (0..=LONGEST).step_by(LANES) {
                let length = |lane: usize| (from + (lane + shift) % LANES).min(LONGEST);
                let mut lanes = Lanes::new();
                (0..LANES).for_each(|lane| lanes.put(lane, &text.as_bytes()[..length(lane)]));
                let expected: [u32; LANES] = std::array::from_fn(|lane| hash(&text[..length(lane)]));
                assert_eq!(lanes.first_words(), expected);
                for (place, way) in ways().into_iter().enumerate() {
                    assert_eq!(way(&lanes.0), expected, "way {place}, of the fastest first");
                }
                let (first, second) = text.as_bytes()[..length(0)].split_at(length(0) / 2);
                assert_eq!(first_word(&[first, b"", second]), expected[0]);
            }
        }
    }
}
