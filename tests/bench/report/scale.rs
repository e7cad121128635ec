//! Where a number is on a plot's axis, and which numbers are named there.

/// From here on a linear axis would show the small ones in one heap.
const DECADES_FROM: f64 = 20.0;
/// Named numbers on a linear axis, about.
const STEPS: f64 = 6.0;
/// Decades up to which 2 and 5 are named too.
const FEW_DECADES: f64 = 3.5;

/// An axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    /// Decades are as long as each other.
    pub(super) is_logarithmic: bool,
}

impl Scale {
    /// One that shows all of these. A logarithmic one has no zero: it is drawn at the left end.
    pub(super) fn of(numbers: &[f64]) -> Self {
        let max = numbers.iter().copied().fold(0.0, f64::max);
        let positive = numbers.iter().copied().filter(|n| *n > 0.0);
        let min = positive.fold(f64::INFINITY, f64::min);
        if max > 0.0 && max / min > DECADES_FROM {
            Self {
                from: min / 1.25,
                to: max * 1.25,
                is_logarithmic: true,
            }
        } else {
            Self {
                from: 0.0,
                to: if max > 0.0 { max * 1.08 } else { 1.0 },
                is_logarithmic: false,
            }
        }
    }

    /// Between 0, the left end, and 1.
    pub(super) fn place(&self, number: f64) -> f64 {
        let place = if self.is_logarithmic {
            (number.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (number - self.from) / (self.to - self.from)
        };
        place.clamp(0.0, 1.0)
    }

    /// The numbers that are named, and how: all of them within the ends.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let numbers = if self.is_logarithmic {
            self.decades()
        } else {
            self.steps()
        };
        let inside = |n: &f64| (self.from..=self.to).contains(n);
        let named = |n: f64| (n, name(n));
        numbers.into_iter().filter(inside).map(named).collect()
    }

    fn decades(&self) -> Vec<f64> {
        let (first, last) = (self.from.log10().floor(), self.to.log10().ceil());
        let few = last - first <= FEW_DECADES + 1.0;
        let multiples: &[f64] = if few { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let mut numbers = Vec::new();
        let mut exponent = first;
        while exponent <= last {
            numbers.extend(multiples.iter().map(|m| m * 10_f64.powf(exponent)));
            exponent += 1.0;
        }
        numbers
    }

    fn steps(&self) -> Vec<f64> {
        let rough = self.to / STEPS;
        let decade = 10_f64.powf(rough.log10().floor());
        let nice = [1.0, 2.0, 5.0, 10.0].map(|m| m * decade);
        let step = nice.into_iter().find(|n| *n >= rough).unwrap_or(rough);
        let mut numbers = Vec::new();
        let mut count = 0.0;
        while count * step <= self.to {
            numbers.push(count * step);
            count += 1.0;
        }
        numbers
    }
}

/// As short as it can be told: steps leave `0.30000000000000004`.
fn name(number: f64) -> String {
    let text = format!("{number:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(numbers: &[f64]) -> Vec<String> {
        let ticks = Scale::of(numbers).ticks();
        ticks.into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn an_axis_names_round_numbers() {
        assert_eq!(
            names(&[3.4, 1000.0]),
            ["5", "10", "20", "50", "100", "200", "500", "1000"]
        );
        assert_eq!(names(&[0.05, 30000.0]).len(), 6);
        assert_eq!(names(&[8.0, 12.1]), ["0", "5", "10"]);
        assert_eq!(
            names(&[0.26, 0.4, 0.48]),
            ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]
        );
    }

    #[test]
    fn every_number_is_on_the_axis_and_in_order() {
        for numbers in [
            &[3.4, 25.0, 1000.0][..],
            &[0.0, 0.07, 9.9, 967.0],
            &[7.0, 7.7, 8.0],
            &[0.0],
            &[],
        ] {
            let scale = Scale::of(numbers);
            let places: Vec<_> = numbers.iter().map(|n| scale.place(*n)).collect();
            assert!(places.is_sorted(), "{places:?}");
            assert!(
                places.iter().all(|p| (0.0..1.0).contains(p)),
                "{numbers:?}: {places:?}"
            );
        }
    }
}
