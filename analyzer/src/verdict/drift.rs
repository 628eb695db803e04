//! How fast something grows, with an interval that noise does not fool.
//!
//! Memory over time is taken for a level that drifts: a random walk with a constant mean step
//! (requests differ), seen through independent noise (what is live just now). It is the random walk
//! with drift plus noise of A. C. Harvey, *Forecasting, Structural Time Series Models and the Kalman
//! Filter*, 1989, section 4.3. The share of the noise is estimated from the steps by restricted maximum
//! likelihood, the mean step by generalized least squares, its interval by Student's t.

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::model::Estimate;

/// Fewer steps say nothing.
const FEWEST_STEPS: usize = 6;
/// Candidates for the noise's share: 0 is a random walk, 1 a straight line with noise around it.
const NOISE: [f64; 14] =
    [0.0, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.99, 0.996, 0.999, 1.0];

/// The mean of steps that follow each other, and its 95 % interval; `None`: there are too few.
pub fn drift(steps: &[f64]) -> Option<Estimate> {
    if steps.len() < FEWEST_STEPS {
        return None;
    }
    let fits = NOISE.map(|noise| Fit::of(steps, noise));
    let most = fits.iter().map(|fit| fit.likelihood).fold(f64::NEG_INFINITY, f64::max);
    // Which share is the right one is not known either: each counts as much as the steps speak for it. That
    // there is no noise at all is even odds, or chance would find some, and make the interval too narrow.
    let even = (NOISE.len() - 1) as f64;
    let mut weights = fits.map(|fit| (fit.likelihood - most).exp());
    weights[0] *= even;
    let all: f64 = weights.iter().sum();
    let mean = fits.iter().zip(weights).map(|(fit, weight)| fit.mean * weight).sum::<f64>() / all;
    // Clustered steps (bursts of traffic) are less than they seem.
    let wider = inflation(steps, mean);
    let student = StudentsT::new(0.0, 1.0, (steps.len() - 1) as f64).ok()?;
    let below = |value: f64| {
        let part = |(fit, weight): (&Fit, f64)| {
            let distance = value - fit.mean;
            // Steps that are all equal have a mean that is certain.
            let part = match fit.error > 0.0 {
                true => student.cdf(distance / (fit.error * wider)),
                false => f64::from(u8::from(distance >= 0.0)),
            };
            part * weight
        };
        fits.iter().zip(weights).map(part).sum::<f64>() / all
    };
    let widest = fits.iter().map(|fit| fit.error).fold(0.0, f64::max) * wider;
    let reach = student.inverse_cdf(0.99) * widest;
    let least = fits.iter().map(|fit| fit.mean).fold(f64::INFINITY, f64::min) - reach;
    let highest = fits.iter().map(|fit| fit.mean).fold(f64::NEG_INFINITY, f64::max) + reach;
    let [low, high] = [0.025, 0.975].map(|part| quantile(&below, part, least, highest));
    let shift = skew_shift(steps, mean, (high - low) / 2.0);
    // Whether something leaks is decided by the lower bound: a few large steps must not lift that.
    Some(Estimate { estimate: mean, low: low + shift.min(0.0), high: high + shift.max(0.0) })
}

/// Where a growing function between two values reaches a part, by bisection.
fn quantile(below: &impl Fn(f64) -> f64, part: f64, mut low: f64, mut high: f64) -> f64 {
    for _ in 0..40 {
        let middle = low + (high - low) / 2.0;
        match below(middle) < part {
            true => low = middle,
            false => high = middle,
        }
    }
    low + (high - low) / 2.0
}

/// What follows from one share of noise.
#[derive(Clone, Copy)]
struct Fit {
    mean: f64,
    error: f64,
    likelihood: f64,
}

impl Fit {
    /// The covariance of the steps is `(1 - noise) I + noise T`, where T has 2 on its diagonal and -1
    /// beside it: noise that lifts one step lowers the next.
    fn of(steps: &[f64], noise: f64) -> Self {
        let (diagonal, beside) = (1.0 + noise, -noise);
        let ones = vec![1.0; steps.len()];
        let (of_ones, log_determinant) = solve(diagonal, beside, &ones);
        let weight: f64 = of_ones.iter().sum();
        let mean =
            of_ones.iter().zip(steps).map(|(weight, step)| weight * step).sum::<f64>() / weight;
        let rest: Vec<f64> = steps.iter().map(|step| step - mean).collect();
        let (of_rest, _) = solve(diagonal, beside, &rest);
        let squares: f64 = of_rest.iter().zip(&rest).map(|(a, b)| a * b).sum();
        let free = (steps.len() - 1) as f64;
        // Steps that are all equal have no variance; the logarithm still needs one.
        let variance = (squares / free).max(f64::MIN_POSITIVE);
        Self {
            mean,
            error: (variance / weight).sqrt(),
            likelihood: -(free * variance.ln() + log_determinant + weight.ln()) / 2.0,
        }
    }
}

/// Solves a symmetric tridiagonal system; gives the logarithm of its determinant too.
fn solve(diagonal: f64, beside: f64, right: &[f64]) -> (Vec<f64>, f64) {
    let mut pivots = Vec::with_capacity(right.len());
    let mut values = Vec::with_capacity(right.len());
    let mut log_determinant = 0.0;
    let (mut pivot, mut value) = (0.0, 0.0);
    for (index, right) in right.iter().enumerate() {
        let factor = if index == 0 { 0.0 } else { beside / pivot };
        pivot = diagonal - factor * if index == 0 { 0.0 } else { beside };
        value = right - factor * value;
        log_determinant += pivot.ln();
        pivots.push(pivot);
        values.push(value);
    }
    let mut next = 0.0;
    for (value, pivot) in values.iter_mut().zip(&pivots).rev() {
        *value = (*value - beside * next) / pivot;
        next = *value;
    }
    (values, log_determinant)
}

/// How much wider the interval is if neighbouring steps are alike: with a correlation r of
/// neighbours, the mean of many has (1 + r) / (1 - r) times the variance.
fn inflation(steps: &[f64], mean: f64) -> f64 {
    let squares: f64 = steps.iter().map(|step| (step - mean).powi(2)).sum();
    if squares == 0.0 {
        return 1.0;
    }
    let pairs = steps.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean));
    // Its own estimate is low by about 1/n, and varies by about 1/sqrt(n) without any correlation.
    let count = steps.len() as f64;
    let alike = pairs.sum::<f64>() / squares + 1.0 / count;
    let sure = (alike - 1.0 / count.sqrt()).clamp(0.0, 0.8);
    ((1.0 + sure) / (1.0 - sure)).sqrt()
}

/// By how much the interval moves because few large steps make up for many small ones: who happens to see
/// few of the large ones also takes them to differ less. The first term for a skewed population, of
/// N. J. Johnson, *Modified t tests and confidence intervals for asymmetrical populations*, 1978.
fn skew_shift(steps: &[f64], mean: f64, margin: f64) -> f64 {
    let count = steps.len() as f64;
    let moment =
        |power: i32| steps.iter().map(|step| (step - mean).powi(power)).sum::<f64>() / count;
    let variance = moment(2);
    if variance <= 0.0 {
        return 0.0;
    }
    let skewness = moment(3) / variance.powf(1.5);
    let normal = 1.96;
    let error = margin / normal;
    skewness * (1.0 + 2.0 * normal * normal) / (6.0 * count.sqrt()) * error
}
