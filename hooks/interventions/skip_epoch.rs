//! The intervention `skip-epoch`: passes over the rest of an epoch.

use milepost::prelude::*;

#[derive(Serialize, Deserialize, Clone, Copy, Default)]
#[serde(deny_unknown_fields)]
struct Options {}

struct SkipEpoch;

/// The kind `skip-epoch`.
pub fn kind() -> InterventionKind {
    InterventionKind::new(
        "skip-epoch",
        "ends the epoch, wherever it is asked; the rest of its data is passed over",
        |_: Options| SkipEpoch,
    )
    .at(None)
}

impl Intervention for SkipEpoch {
    fn intervene(&mut self, control: &mut Control) -> Result<()> {
        control.end_epoch("it was due");
        Ok(())
    }
}
