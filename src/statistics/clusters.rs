//! Means of values that are alike within clusters: their standard error, and resampling of whole clusters.

use std::collections::BTreeMap;

use rand::Rng;
use rayon::prelude::*;

pub use super::standard_error::StandardError;
use crate::random::{Purpose, stream};

/// Bootstrap draws that share a random stream, so that the draws do not depend on the number of threads.
const CHUNK: usize = 250;

/// The clusters of each value, in one or more ways (identity, template, training seed).
#[derive(Debug, Clone)]
pub struct Clusters {
    /// For each way, the cluster of each value, numbered from 0 without gaps.
    ways: Vec<Vec<usize>>,
    /// For each way, the number of clusters.
    sizes: Vec<usize>,
    /// The group of each value, if each cluster of the first way is within one group.
    strata: Option<Vec<usize>>,
    /// The way whose clusters are runs, if one is.
    runs: Option<usize>,
    values: usize,
}

impl Clusters {
    /// Makes clusters from the label of each value in each way: `[ways][values]`. Gaps in the numbering make no difference.
    pub fn new(ways: &[Vec<usize>]) -> Self {
        let values = ways.first().map_or(0, Vec::len);
        let ways: Vec<Vec<usize>> = ways.iter().map(|way| dense(way)).collect();
        let sizes = ways.iter().map(|way| count(way)).collect();
        Self {
            ways,
            sizes,
            strata: None,
            runs: None,
            values,
        }
    }

    /// Declares that the clusters of a way are runs that share all other clusters. Runs are few. So the degrees of freedom are those of
    /// Satterthwaite (1946), which are as few as that only where runs differ much.
    pub fn with_runs(self, way: usize) -> Self {
        Self {
            runs: Some(way),
            ..self
        }
    }

    /// Declares that each cluster of the first way lies within one of two groups. `strata` has the group of each value. The degrees of
    /// freedom are then at most those of Welch (1947) for the first way.
    pub fn in_strata(self, strata: Vec<usize>) -> Self {
        Self {
            strata: Some(strata),
            ..self
        }
    }

    /// The number of clusters in each way.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// The standard error of the plain mean of `values`, from the multiway cluster-robust variance of Cameron, Gelbach and Miller (2011).
    /// With residuals r, it adds up the squared sums of r over the clusters of each single way, subtracts those of the clusters of each two
    /// ways together, adds those of each three, and so on; each term has the factor G / (G - 1) for its G clusters. The subtraction can
    /// make the variance too small or negative, so it is never below that of independent values. The degrees of freedom are the number of
    /// clusters of the smallest way minus 1, or the number of values minus 1 when the variance of independent values is taken. A way with a
    /// single cluster is left out.
    ///
    /// When clusters lie within groups, what the groups share cancels in their difference, and the variance of independent values is no
    /// lower limit. The variance is then at least that of each way alone (MacKinnon, Nielsen and Webb 2021), and the degrees of freedom are
    /// at most Welch's.
    ///
    /// Over runs, the variance V is at least that of each way alone, too. The degrees of freedom are V^2 over the sum of V_w^2 / (G_w - 1) over
    /// the ways w (Satterthwaite 1946). They are at least those of the runs, and at most those of the smallest other way.
    pub fn standard_error(&self, values: &[f64]) -> StandardError {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let residuals: Vec<f64> = values.iter().map(|value| value - mean).collect();
        let sums = self.sums_of_squares(&residuals);
        let independent = residuals.iter().map(|r| r * r).sum::<f64>() * count / (count - 1.0);
        let one_way = sums.single.iter().map(|way| way.sum).fold(0.0, f64::max);
        let together = sums.together;
        let fewest = sums.fewest(None);
        let grouped = self.strata.is_some();
        let (sum, degrees) = match (fewest, self.runs) {
            (None, _) => (f64::INFINITY, 0.0),
            (Some(_), Some(runs)) => {
                let least = if grouped {
                    one_way
                } else {
                    one_way.max(independent)
                };
                let sum = together.max(least);
                (sum, sums.satterthwaite(sum, runs))
            }
            (Some(fewest), None) if grouped => (together.max(one_way), fewest),
            (Some(_), None) if together <= independent => (independent, count - 1.0),
            (Some(fewest), None) => (together, fewest),
        };
        let (sum, degrees) = match &self.strata {
            Some(strata) if degrees > 0.0 => match self.welch(strata, &residuals) {
                Some(welch) => (sum, degrees.min(welch)),
                None => (f64::INFINITY, 0.0),
            },
            _ => (sum, degrees),
        };
        StandardError {
            value: if sum > 0.0 { sum.sqrt() / count } else { 0.0 },
            degrees,
        }
    }

    /// The sums of squares of which the variance is made. A way with a single cluster is left out.
    fn sums_of_squares(&self, residuals: &[f64]) -> SumsOfSquares {
        let ways: Vec<usize> = (0..self.ways.len())
            .filter(|&way| self.sizes[way] > 1)
            .collect();
        let mut sums = SumsOfSquares::default();
        for subset in 1..1usize << ways.len() {
            let chosen = ways.iter().enumerate();
            let chosen = chosen.filter(|(bit, _)| subset >> bit & 1 == 1);
            let chosen: Vec<usize> = chosen.map(|(_, way)| *way).collect();
            let sum = squares(residuals, &self.together(&chosen));
            if let [way] = chosen[..] {
                let degrees = self.sizes[way] as f64 - 1.0;
                sums.single.push(OneWay { way, sum, degrees });
            }
            sums.together += if chosen.len() % 2 == 1 { sum } else { -sum };
        }
        sums
    }

    /// Welch's degrees of freedom for a difference of two means, from the sums of `residuals` over the clusters of the first way: (v_0 +
    /// v_1)^2 / (v_0^2 / (G_0 - 1) + v_1^2 / (G_1 - 1)), with v_g the sum of squares and G_g the number of clusters of group g. None when a
    /// group has a single cluster, whose spread is not known.
    fn welch(&self, strata: &[usize], residuals: &[f64]) -> Option<f64> {
        let mut sums: BTreeMap<(usize, usize), f64> = BTreeMap::new();
        for ((&group, &cluster), residual) in strata.iter().zip(&self.ways[0]).zip(residuals) {
            *sums.entry((group, cluster)).or_default() += residual;
        }
        let mut groups: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
        for ((group, _), sum) in sums {
            let (squares, clusters) = groups.entry(group).or_default();
            *squares += sum * sum;
            *clusters += 1.0;
        }
        if groups.values().any(|(_, clusters)| *clusters < 2.0) {
            return None;
        }
        let all: f64 = groups.values().map(|(squares, _)| squares).sum();
        let parts = groups.values();
        let parts: f64 = parts
            .map(|(squares, clusters)| squares * squares / (clusters - 1.0))
            .sum();
        Some(if parts > 0.0 {
            all * all / parts
        } else {
            f64::INFINITY
        })
    }

    /// The clusters of several ways together: values are in one cluster when they are in one cluster of each of these ways.
    fn together(&self, ways: &[usize]) -> Vec<usize> {
        let mut labels = vec![0; self.values];
        for &way in ways {
            let size = self.sizes[way];
            for (label, cluster) in labels.iter_mut().zip(&self.ways[way]) {
                *label = *label * size + cluster;
            }
            labels = dense(&labels);
        }
        labels
    }

    /// The means of `columns` under resampling: `[columns][draws]`. Each draw takes, in every way, as many clusters as there are, with
    /// replacement. The weight of a value is the product of how often its clusters were drawn. All columns see the same draws. A draw in
    /// which all weights are 0 (possible in sparse designs) is repeated.
    pub fn resampled(&self, columns: &[&[f64]], draws: usize, seed: u64) -> Vec<Vec<f64>> {
        let chunks: Vec<Vec<Vec<f64>>> = (0..draws.div_ceil(CHUNK))
            .into_par_iter()
            .map(|chunk| {
                let count = CHUNK.min(draws - chunk * CHUNK);
                self.some_draws(columns, count, seed, chunk as u64)
            })
            .collect();
        let column = |index: usize| chunks.iter().flat_map(move |chunk| chunk[index].clone());
        (0..columns.len())
            .map(|index| column(index).collect())
            .collect()
    }

    fn some_draws(&self, columns: &[&[f64]], draws: usize, seed: u64, chunk: u64) -> Vec<Vec<f64>> {
        let mut rng = stream(seed, Purpose::Statistics, chunk, 0);
        let mut means = vec![Vec::with_capacity(draws); columns.len()];
        let mut times: Vec<Vec<f64>> = self.sizes.iter().map(|&size| vec![0.0; size]).collect();
        let mut weights = vec![0.0; self.values];
        let mut done = 0;
        while done < draws {
            for times in &mut times {
                times.fill(0.0);
                let size = times.len();
                for _ in 0..size {
                    times[rng.random_range(0..size)] += 1.0;
                }
            }
            weights.fill(1.0);
            for (way, times) in self.ways.iter().zip(&times) {
                for (weight, &cluster) in weights.iter_mut().zip(way) {
                    *weight *= times[cluster];
                }
            }
            let total: f64 = weights.iter().sum();
            if total == 0.0 {
                continue;
            }
            done += 1;
            for (values, means) in columns.iter().zip(&mut means) {
                let products = weights.iter().zip(*values);
                let sum: f64 = products.map(|(weight, value)| weight * value).sum();
                means.push(sum / total);
            }
        }
        means
    }

    /// For each way with more than one cluster, the means of `values` that leave out one cluster: `[ways][clusters]`. The acceleration of
    /// BCa is computed from them.
    pub(super) fn left_out(&self, values: &[f64]) -> Vec<Vec<f64>> {
        let (sum, count) = (values.iter().sum::<f64>(), values.len() as f64);
        let ways = self.ways.iter().zip(&self.sizes);
        ways.filter(|(_, size)| **size > 1)
            .map(|(way, &size)| {
                let mut parts = vec![(0.0, 0.0); size];
                for (&cluster, value) in way.iter().zip(values) {
                    parts[cluster].0 += value;
                    parts[cluster].1 += 1.0;
                }
                let without = parts.iter().filter(|part| part.1 < count);
                without
                    .map(|part| (sum - part.0) / (count - part.1))
                    .collect()
            })
            .collect()
    }
}

/// Squared sums of residuals over clusters, each with its factor G / (G - 1).
#[derive(Default)]
struct SumsOfSquares {
    /// Those of each way.
    single: Vec<OneWay>,
    /// Those of single ways, less those of each two ways together, and so on.
    together: f64,
}

struct OneWay {
    way: usize,
    sum: f64,
    /// The number of clusters less 1.
    degrees: f64,
}

impl SumsOfSquares {
    /// The degrees of freedom of the way that has the fewest, apart from one.
    fn fewest(&self, without: Option<usize>) -> Option<f64> {
        let others = self.single.iter().filter(|one| Some(one.way) != without);
        others.map(|one| one.degrees).min_by(f64::total_cmp)
    }

    /// Satterthwaite's degrees of freedom of `sum`, between those of the runs and the fewest of any other way.
    fn satterthwaite(&self, sum: f64, runs: usize) -> f64 {
        let parts = self.single.iter();
        let parts: f64 = parts.map(|one| one.sum * one.sum / one.degrees).sum();
        let least = self.fewest(None).unwrap_or(0.0);
        let most = self.fewest(Some(runs)).unwrap_or(least);
        if parts > 0.0 {
            (sum * sum / parts).clamp(least, most.max(least))
        } else {
            least
        }
    }
}

/// Renumbers labels from 0 without gaps, in ascending order.
fn dense(labels: &[usize]) -> Vec<usize> {
    let mut places: BTreeMap<usize, usize> = labels.iter().map(|&label| (label, 0)).collect();
    for (place, slot) in places.values_mut().enumerate() {
        *slot = place;
    }
    labels.iter().map(|label| places[label]).collect()
}

/// The number of clusters of dense labels.
fn count(labels: &[usize]) -> usize {
    labels.iter().max().map_or(0, |last| last + 1)
}

/// The squared sums of residuals over each cluster, added up, times G / (G - 1).
fn squares(residuals: &[f64], labels: &[usize]) -> f64 {
    let clusters = count(labels);
    let mut sums = vec![0.0; clusters];
    for (residual, &label) in residuals.iter().zip(labels) {
        sums[label] += residual;
    }
    let clusters = clusters as f64;
    sums.iter().map(|sum| sum * sum).sum::<f64>() * clusters / (clusters - 1.0)
}
