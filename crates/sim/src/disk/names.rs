//! Names of files and folders: what is seen, and what a crash may leave of it.
//!
//! A change of names is durable by a flush of its folder only. Until then it may be lost in a crash, whatever became of
//! those before and after it; a rename is lost or kept as one.

use super::chance::Chance;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Entry {
    Folder,
    File(u64),
}

#[derive(Debug, Clone, Hash)]
struct Change {
    folder: PathBuf,
    entries: Vec<(PathBuf, Option<Entry>)>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    seen: BTreeMap<PathBuf, Entry>,
    stable: BTreeMap<PathBuf, Entry>,
    pending: Vec<Change>,
}

fn apply(names: &mut BTreeMap<PathBuf, Entry>, entries: &[(PathBuf, Option<Entry>)]) {
    for (path, entry) in entries {
        match entry {
            Some(entry) => names.insert(path.clone(), *entry),
            None => names.remove(path),
        };
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

impl Names {
    pub(super) fn get(&self, path: &Path) -> Option<Entry> {
        // What folders lie in is always there.
        if parent(path) == path || path.as_os_str() == "/" { Some(Entry::Folder) } else { self.seen.get(path).copied() }
    }

    pub(super) fn folder_is_there(&self, path: &Path) -> bool {
        self.get(parent(path)) == Some(Entry::Folder)
    }

    pub(super) fn list(&self, folder: &Path) -> Vec<PathBuf> {
        self.seen.keys().filter(|p| parent(p) == folder).cloned().collect()
    }

    /// Every file that is seen.
    pub(super) fn files(&self) -> impl Iterator<Item = (&PathBuf, u64)> {
        self.seen.iter().filter_map(|(path, entry)| match entry {
            Entry::File(id) => Some((path, *id)),
            Entry::Folder => None,
        })
    }

    pub(super) fn path_of(&self, file: u64) -> Option<&PathBuf> {
        self.files().find(|(_, id)| *id == file).map(|(path, _)| path)
    }

    /// All entries are of one folder.
    pub(super) fn change(&mut self, entries: Vec<(PathBuf, Option<Entry>)>) {
        let folder = entries.first().map_or(Path::new("/"), |(path, _)| parent(path)).to_owned();
        assert!(entries.iter().all(|(path, _)| parent(path) == folder), "a change is of one folder");
        apply(&mut self.seen, &entries);
        self.pending.push(Change { folder, entries });
    }

    pub(super) fn sync(&mut self, folder: &Path) {
        let stable = &mut self.stable;
        self.pending.retain(|change| {
            let here = change.folder == folder;
            if here {
                apply(stable, &change.entries);
            }
            !here
        });
    }

    /// After a crash: each change survived, or did not. Returns how many did not.
    pub(super) fn restart(&mut self, chance: &mut Chance) -> u64 {
        let mut lost = 0;
        for change in std::mem::take(&mut self.pending) {
            if chance.pick(2) == 0 {
                apply(&mut self.stable, &change.entries);
            } else {
                lost += 1;
            }
        }
        // What lay in a folder that is gone is gone.
        let folders = self.stable.clone();
        let there = |path: &Path| {
            path.ancestors()
                .skip(1)
                .all(|a| a.as_os_str() == "/" || a.as_os_str().is_empty() || folders.contains_key(a))
        };
        self.stable.retain(|path, _| there(path));
        self.seen = self.stable.clone();
        lost
    }

    pub(super) fn fingerprint(&self, hash: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        (&self.seen, &self.stable, &self.pending).hash(hash);
    }
}
