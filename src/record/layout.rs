//! The names in a run's folder, `runs/<experiment>/<run>/`.

/// The experiment as resolved.
pub const EXPERIMENT: &str = "experiment.toml";
/// What the run was made of.
pub const MANIFEST: &str = "manifest.json";
/// What was reported.
pub const MILESTONES: &str = "milestones.jsonl";
/// How the run ended.
pub const OUTCOME: &str = "outcome.json";
/// The page on the run.
pub const REPORT: &str = "report.html";
/// The folder of values per template.
pub const TEMPLATES: &str = "templates";
/// The folder of checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
/// The folder of the models at the end, each in a folder with the name of its role.
pub const MODELS: &str = "models";
/// The folder of replays, each a run's folder of its own.
pub const REPLAYS: &str = "replay";
/// The file that the process holds that writes into the folder.
pub const LOCK: &str = ".lock";
