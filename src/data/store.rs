//! The places where this machine keeps data: the folder that `MILEPOST_DATA` names, and the cache that downloads go to.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::download::{Patience, Progress, Remote, download, md5_of};

/// The places where data is looked for.
#[derive(Debug, Clone, Default)]
pub struct Store {
    /// The value of `MILEPOST_DATA`: a folder with one folder for each data set.
    pub data: Option<PathBuf>,
    /// The cache folder.
    pub cache: Option<PathBuf>,
    /// Whether downloads are forbidden.
    pub offline: bool,
}

/// A file that can be downloaded, with its pinned checksum.
#[derive(Debug, Clone, Deserialize)]
pub struct Pinned {
    /// Its address.
    pub url: String,
    /// Its MD5 in hexadecimal.
    pub md5: String,
}

/// A folder with the files that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The folder.
    pub folder: PathBuf,
    /// Whether it is in the cache.
    pub cached: bool,
    /// Why each earlier place was passed over.
    pub passed_over: Vec<String>,
}

impl Store {
    /// Finds the folder `name`. Takes the one in `MILEPOST_DATA` if it has `file`, else the one in the cache. In the cache, those of
    /// `downloads` that are missing or damaged are downloaded first; `progress` gets the file and the bytes.
    ///
    /// # Errors
    /// The reason why each place cannot be used.
    pub fn find(
        &self,
        name: &str,
        file: &str,
        downloads: &[(&str, &Pinned)],
        progress: &mut Progress,
    ) -> Result<Found, Vec<String>> {
        let mut passed_over = Vec::new();
        if let Some(data) = &self.data {
            let folder = data.join(name);
            if folder.join(file).exists() {
                return Ok(Found {
                    folder,
                    cached: false,
                    passed_over,
                });
            }
            passed_over.push(lacks(data, &folder.join(file)));
        }
        match self.cached(name, downloads, progress) {
            Ok(folder) => Ok(Found {
                folder,
                cached: true,
                passed_over,
            }),
            Err(why) => {
                passed_over.push(why);
                Err(passed_over)
            }
        }
    }

    fn cached(
        &self,
        name: &str,
        downloads: &[(&str, &Pinned)],
        progress: &mut Progress,
    ) -> Result<PathBuf, String> {
        if downloads.is_empty() {
            return Err("it cannot be downloaded".to_owned());
        }
        let Some(cache) = &self.cache else {
            return Err("there is no cache folder (HOME is not set)".to_owned());
        };
        let folder = cache.join(name);
        for (file, pinned) in downloads {
            self.fetch(pinned, &folder.join(file), progress)?;
        }
        Ok(folder)
    }

    /// Makes sure that an intact file is in the cache, and downloads it if need be. The error says why that is not possible.
    fn fetch(&self, pinned: &Pinned, path: &Path, progress: &mut Progress) -> Result<(), String> {
        if std::fs::read(path).is_ok_and(|bytes| md5_of(&bytes) == pinned.md5) {
            return Ok(());
        }
        if self.offline {
            return Err(format!(
                "{} is not there and MILEPOST_OFFLINE is set",
                path.display()
            ));
        }
        let remote = Remote {
            url: &pinned.url,
            md5: &pinned.md5,
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut report = |done, total| progress(&name, done, total);
        let fetched = download(&remote, path, Patience::default(), &mut report);
        fetched.map_err(|error| error.to_string())
    }
}

/// Says why the folder of `--data` or `MILEPOST_DATA` cannot be used.
fn lacks(data: &Path, file: &Path) -> String {
    if !data.is_dir() {
        return format!(
            "{}, given by --data or MILEPOST_DATA, is no folder",
            data.display()
        );
    }
    format!(
        "{} is missing in the folder that --data or MILEPOST_DATA gives",
        file.display()
    )
}
