//! The states of a run, as an estimate asks for them.

use super::opening::Opened;
use crate::influence::States;
use crate::model::{Network, Pair, Role};
use crate::record::Unusable;
use crate::record::checkpoint::optimiser_file;
use crate::train::{AdamW, Point};

impl Opened {
    fn point(&self, step: u64) -> anyhow::Result<&Point> {
        let mut points = self.points.iter();
        let found = points.find(|point| point.clock.step.0 == step);
        found.ok_or_else(|| anyhow::anyhow!("there is no state after step {step}"))
    }
}

impl States for Opened {
    fn pair(&self, step: u64) -> anyhow::Result<Pair> {
        Ok(self.point(step)?.pair(&self.plan.pair)?)
    }

    fn optimisers(&self, step: u64) -> anyhow::Result<[Option<AdamW>; 2]> {
        let (point, start) = (self.point(step)?, &self.plan.pair);
        let optimiser = |role: Role| -> anyhow::Result<Option<AdamW>> {
            let folder = point.models.as_ref();
            match folder.filter(|_| self.plan.training.models.contains(&role)) {
                Some(folder) => {
                    let path = folder.join(optimiser_file(role));
                    Ok(Some(read(&path, start.get(role))?))
                }
                None => Ok(None),
            }
        };
        Ok([optimiser(Role::Main)?, optimiser(Role::Assistant)?])
    }
}

/// An optimiser from its file.
fn read(path: &std::path::Path, model: &Network) -> Result<AdamW, Unusable> {
    let bytes = std::fs::read(path).map_err(|error| Unusable::new(path, &error))?;
    let read = AdamW::new(0.0.into()).restored(&bytes, model);
    let read = read.map_err(|error| Unusable::new(path, &error))?;
    match read.frozen_at_times() {
        None => Ok(read),
        Some(name) => {
            let message = format!(
                "`{name}` was frozen in some steps and not in others, which an estimate of influence does not account for"
            );
            Err(Unusable::new(path, &message))
        }
    }
}
