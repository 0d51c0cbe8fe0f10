//! The names of files and folders in a run's folder, `runs/<experiment>/<run>/`.

/// The resolved experiment.
pub const EXPERIMENT: &str = "experiment.toml";
/// The inputs and versions that the run was made with.
pub const MANIFEST: &str = "manifest.json";
/// Everything that the loop and the hooks reported.
pub const MILESTONES: &str = "milestones.jsonl";
/// How the run ended.
pub const OUTCOME: &str = "outcome.json";
/// The report of the run.
pub const REPORT: &str = "report.html";
/// What was done to the text before the training.
pub const TREATMENTS: &str = "text_interventions.json";
/// The folder of values per prompt.
pub const TEMPLATES: &str = "templates";
/// The folder of checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
/// The folder of the trained models, each in a folder with the name of its role.
pub const MODELS: &str = "models";
/// The folder of replays; each has the layout of a run's folder.
pub const REPLAYS: &str = "replay";
/// The folder of estimates of influence; each has a folder by its name.
pub const INFLUENCE: &str = "influence";
/// The file that is locked by the process that writes into the folder.
pub const LOCK: &str = ".lock";
