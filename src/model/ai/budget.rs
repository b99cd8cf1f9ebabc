//! How many frames each sampler may take, so that all of them together stay within what the machine can afford.
//!
//! Greedy, in order of the cameras' priority, then id: each gets what it asks for, as far as half a frame a second (or less,
//! if it asks for less) is left for each one after it. One for which less than that is left gets it at a smaller width, if it
//! fits at all, and else nothing. Decoding has a budget of its own, because decoding and not encoding is what costs: a sampler
//! whose full decoding does not fit is given the rate of its keyframes.

use std::cmp::Reverse;

use crate::{base::CameraId, model::Profile};

/// Thousandths of a frame a second: sums of them are exact.
pub type Mfps = u32;

/// What each sampler is left, if it asks for no less: half a frame a second.
pub const LEAST: Mfps = 500;
/// No picture is made narrower than this for want of budget.
pub const WIDTH_LEAST: u32 = 320;

/// What a sampler asks for: the most that any of its tasks does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Whose frames.
    pub camera: CameraId,
    /// Of which stream.
    pub profile: Profile,
    /// Greater goes first.
    pub priority: i32,
    /// How many.
    pub rate: Mfps,
    /// How wide, in pixels.
    pub width: u32,
    /// Whether keyframes suffice while the scene is quiet. The budget does not count on it.
    pub adaptive: bool,
    /// What the stream brings, once it is known.
    pub stream: Option<Stream>,
}

/// What a stream brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Pixels of a picture.
    pub pixels: u64,
    /// Frames.
    pub rate: Mfps,
    /// Keyframes.
    pub keyframes: Mfps,
}

impl Stream {
    /// Pixels that are decoded in a second for `rate` frames: of keyframes only those that are wanted, of others all,
    /// because each needs those before it.
    fn decoded(self, rate: Mfps) -> u64 {
        let frames = if rate <= self.keyframes { rate } else { self.rate.max(rate) };
        self.pixels * u64::from(frames) / 1000
    }
}

/// What all samplers may take together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Frames.
    pub rate: Mfps,
    /// Pixels decoded in a second; `None`: as many as it takes.
    pub pixels: Option<u64>,
}

/// What a sampler gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// So many frames of this width.
    Frames {
        /// How many.
        rate: Mfps,
        /// How wide.
        width: u32,
    },
    /// Nothing: the budget is used up.
    Shed,
}

/// What each gets, in the order of `asks`.
pub fn grant(asks: &[Ask], budget: Budget) -> Vec<Grant> {
    let mut order: Vec<usize> = (0..asks.len()).collect();
    order.sort_by_key(|n| {
        let Ask { camera, profile, priority, .. } = &asks[*n];
        (Reverse(*priority), camera.clone(), *profile == Profile::Sub)
    });
    let least = |ask: &Ask| ask.rate.min(LEAST);
    let mut after: u64 = asks.iter().map(|ask| u64::from(least(ask))).sum();
    let mut left = u64::from(budget.rate);
    let mut pixels = budget.pixels;
    let mut grants = vec![Grant::Shed; asks.len()];
    for n in order {
        let ask = &asks[n];
        let own = least(ask);
        after -= u64::from(own);
        let spare = u32::try_from(left.saturating_sub(after)).unwrap_or(u32::MAX);
        let (rate, width) = if spare >= own {
            (ask.rate.min(spare), ask.width)
        } else if left >= u64::from(own) {
            (own, narrower(ask.width))
        } else {
            continue;
        };
        let Some((rate, width, cost)) = decodable(ask, rate, width, pixels) else { continue };
        left -= u64::from(rate);
        pixels = pixels.map(|pixels| pixels - cost);
        grants[n] = Grant::Frames { rate, width };
    }
    grants
}

/// Three quarters, or half of it; not under [`WIDTH_LEAST`], unless it was.
fn narrower(width: u32) -> u32 {
    [width / 4 * 3, width / 2]
        .into_iter()
        .rfind(|less| *less >= WIDTH_LEAST)
        .unwrap_or(width.min(WIDTH_LEAST))
}

/// What of it can be decoded, and what that costs: all, or as many as there are keyframes, or the least.
fn decodable(ask: &Ask, rate: Mfps, width: u32, pixels: Option<u64>) -> Option<(Mfps, u32, u64)> {
    let (Some(stream), Some(pixels)) = (ask.stream, pixels) else {
        // What is not known yet is not charged for.
        return Some((rate, width, 0));
    };
    let least = ask.rate.min(LEAST);
    let tries = [(rate, width), (rate.min(stream.keyframes), width), (least, narrower(width))];
    tries.into_iter().filter(|(rate, _)| *rate > 0).find_map(|(rate, width)| {
        let cost = stream.decoded(rate);
        (cost <= pixels).then_some((rate, width, cost))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn ask(camera: &str, priority: i32, rate: Mfps) -> Ask {
        let camera = camera.parse().unwrap();
        Ask { camera, profile: Profile::Sub, priority, rate, width: 1280, adaptive: false, stream: None }
    }

    fn frames(rate: Mfps, width: u32) -> Grant {
        Grant::Frames { rate, width }
    }

    #[test]
    fn the_first_get_all_and_the_last_keep_their_least() {
        let asks = [ask("b", 0, 5_000), ask("a", 0, 5_000), ask("c", 9, 5_000), ask("d", 0, 200)];
        let of = |rate| grant(&asks, Budget { rate, pixels: None });
        assert_eq!(of(40_000), [5_000, 5_000, 5_000, 200].map(|rate| frames(rate, 1280)));
        // `c` goes first; 0.5 stay for `b` and 0.2 for `d`.
        assert_eq!(of(8_000), [500, 2_300, 5_000, 200].map(|rate| frames(rate, 1280)));
        assert_eq!(
            of(1_700),
            [500; 3]
                .map(|rate| frames(rate, 1280))
                .into_iter()
                .chain([frames(200, 1280)])
                .collect::<Vec<_>>()
        );
        // Too little for all: those that still fit are made narrower, and who comes last goes without.
        assert_eq!(of(1_200), [Grant::Shed, frames(500, 640), frames(500, 640), frames(200, 1280)]);
        assert_eq!(of(0), [Grant::Shed; 4]);
    }

    #[test]
    fn decoding_that_does_not_fit_is_left_to_keyframes() {
        let stream = Stream { pixels: 2_000_000, rate: 25_000, keyframes: 1_000 };
        let full = Ask { stream: Some(stream), ..ask("a", 0, 5_000) };
        let of = |pixels| grant(&[full.clone(), full.clone()], Budget { rate: 40_000, pixels: Some(pixels) });
        assert_eq!(of(100_000_000), [frames(5_000, 1280); 2]);
        assert_eq!(of(52_000_000), [frames(5_000, 1280), frames(1_000, 1280)]);
        assert_eq!(of(3_000_000), [frames(1_000, 1280), frames(500, 640)]);
        assert_eq!(of(1_500_000), [frames(500, 640), Grant::Shed]);
    }

    proptest! {
        #[test]
        fn the_budget_holds_and_nobody_gets_more_than_asked(
            asks in vec((0i32..3, 100u32..30_000, 160u32..3840, 1u32..4, 1_000u32..30_000), 0..40),
            rate in 0u32..60_000, pixels in proptest::option::of(0u64..400_000_000)) {
            let asks: Vec<Ask> = asks.into_iter().enumerate().map(|(n, (priority, rate, width, megapixels, fps))| Ask {
                width,
                stream: Some(Stream { pixels: u64::from(megapixels) * 1_000_000, rate: fps, keyframes: 500 }),
                ..ask(&format!("cam{n}"), priority, rate)
            }).collect();
            let grants = grant(&asks, Budget { rate, pixels });
            let (mut sum, mut decoded) = (0u64, 0u64);
            for (ask, grant) in asks.iter().zip(&grants) {
                let Grant::Frames { rate, width } = *grant else { continue };
                prop_assert!(rate > 0 && rate <= ask.rate && width <= ask.width);
                prop_assert!(rate >= ask.rate.min(LEAST));
                prop_assert!(width >= ask.width.min(WIDTH_LEAST));
                sum += u64::from(rate);
                decoded += ask.stream.unwrap().decoded(rate);
            }
            prop_assert!(sum <= u64::from(rate));
            prop_assert!(pixels.is_none_or(|pixels| decoded <= pixels));
            // Nobody goes without while there is enough for the least of all.
            let least: u64 = asks.iter().map(|ask| u64::from(ask.rate.min(LEAST))).sum();
            if pixels.is_none() && least <= u64::from(rate) {
                prop_assert!(!grants.contains(&Grant::Shed));
            }
        }
    }
}
