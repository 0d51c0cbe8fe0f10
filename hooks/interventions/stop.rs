//! The intervention `stop`: ends the run.

use milepost::prelude::*;

#[derive(Serialize, Deserialize, Clone, Copy, Default)]
#[serde(deny_unknown_fields)]
struct Options {}

struct Stop;

/// The kind `stop`.
pub fn kind() -> InterventionKind {
    InterventionKind::new(
        "stop",
        "ends the run after the step at which it is asked",
        |_: Options| Stop,
    )
    .at(None)
}

impl Intervention for Stop {
    fn intervene(&mut self, control: &mut Control) -> Result<()> {
        control.stop("an intervention was to end the run here");
        Ok(())
    }
}
