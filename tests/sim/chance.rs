//! Random numbers that a seed repeats.

#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    /// `SplitMix64`.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From `low` up to and without `high`.
    pub(crate) fn of(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.of(0, n) == 0
    }

    pub(crate) fn which(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).expect("few")
    }

    /// Mostly short, seldom long: milliseconds.
    pub(crate) fn delay(&mut self, usual: u64, longest: u64) -> u64 {
        match self.of(0, 40) {
            0 => self.of(1, longest),
            _ => self.of(1, usual + 1),
        }
    }
}
