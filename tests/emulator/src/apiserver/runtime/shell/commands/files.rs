//! Commands that change the file system.

use std::time::SystemTime;

use super::{Call, Ended};
use crate::apiserver::runtime::filesystem::{FileSystem, FsError, Kind};

impl Call<'_> {
    pub(super) async fn mkdir(&mut self) -> Ended {
        let (options, operands) = self.options();
        self.each(&operands, "can't create directory", |files, path| {
            files.make_directory(path, options.contains('p'))
        })
        .await
    }

    pub(super) async fn rm(&mut self) -> Ended {
        let (options, operands) = self.options();
        let directories = self.name == "rmdir";
        let recursive = options.contains(['r', 'R']);
        let force = options.contains('f');
        self.each(&operands, "can't remove", |files, path| {
            let metadata = match files.link_metadata(path) {
                Err(FsError::NotFound) if force => return Ok(()),
                metadata => metadata?,
            };
            if directories && !metadata.is_directory() {
                return Err(FsError::NotADirectory);
            }
            if metadata.is_directory() && !recursive && !directories {
                return Err(FsError::IsADirectory);
            }
            files.remove(path, recursive)
        })
        .await
    }

    pub(super) async fn touch(&mut self) -> Ended {
        let (_, operands) = self.options();
        self.each(&operands, "can't touch", |files, path| {
            if files.exists(path) {
                files.set_modified(path, SystemTime::now())
            } else {
                files.create(path, false)
            }
        })
        .await
    }

    pub(super) async fn chmod(&mut self) -> Ended {
        let (_, mut operands) = self.options();
        if operands.is_empty() {
            return self.complain("missing operand").await;
        }
        let mode = operands.remove(0);
        let Some(mode) = Mode::parse(mode) else {
            return self.complain(format!("invalid mode '{mode}'")).await;
        };
        self.each(&operands, "can't access", |files, path| {
            let before = files.metadata(path)?.mode;
            files.set_mode(path, mode.apply(before))
        })
        .await
    }

    pub(super) async fn mktemp(&mut self) -> Ended {
        let (options, _) = self.options();
        let files = &self.shell.container.files;
        let path = (0..=999_999)
            .map(|number| format!("/tmp/tmp.{number:06}"))
            .find(|path| !files.exists(path))
            .unwrap_or_default();
        let made = if options.contains('d') {
            files.make_directory(&path, false)
        } else {
            files.create(&path, true)
        };
        match made {
            Ok(()) => {
                self.print(path + "\n").await?;
                Ok(0)
            }
            Err(error) => self.complain(error).await,
        }
    }

    pub(super) async fn ln(&mut self) -> Ended {
        let (options, operands) = self.options();
        let [target, name] = operands.as_slice() else {
            return self.complain("usage: ln [-sf] TARGET NAME").await;
        };
        let files = self.shell.container.files.clone();
        let path = within(&files, self.shell.absolute(name), target);
        if options.contains('f') && files.link_metadata(&path).is_ok() {
            // A failure shows in what follows.
            let _ = files.remove(&path, false);
        }
        let made = if options.contains('s') {
            files.link(target, &path)
        } else {
            copy(&files, &self.shell.absolute(target), &path, false)
        };
        match made {
            Ok(()) => Ok(0),
            Err(error) => self.complain(format!("{name}: {error}")).await,
        }
    }

    pub(super) async fn cp(&mut self) -> Ended {
        let (options, _) = self.options();
        let recursive = options.contains(['r', 'R', 'a']);
        self.onto("can't copy", |files, from, to| {
            copy(files, from, to, recursive)
        })
        .await
    }

    pub(super) async fn mv(&mut self) -> Ended {
        self.onto("can't rename", FileSystem::rename).await
    }

    /// Does `change` to each path and complains of failures with `verb`.
    async fn each(
        &self,
        operands: &[&str],
        verb: &str,
        change: impl Fn(&FileSystem, &str) -> Result<(), FsError>,
    ) -> Ended {
        if operands.is_empty() {
            return self.complain("missing operand").await;
        }
        let mut status = 0;
        for operand in operands {
            let path = self.shell.absolute(operand);
            if let Err(error) = change(&self.shell.container.files, &path) {
                status = self
                    .complain(format!("{verb} '{operand}': {error}"))
                    .await?;
            }
        }
        Ok(status)
    }

    /// Does `change` from every operand but the last to the last, or into it.
    async fn onto(
        &self,
        verb: &str,
        change: impl Fn(&FileSystem, &str, &str) -> Result<(), FsError>,
    ) -> Ended {
        let (_, operands) = self.options();
        let Some((to, from @ [_, ..])) = operands.split_last() else {
            return self.complain("missing operand").await;
        };
        let files = &self.shell.container.files;
        let target = self.shell.absolute(to);
        if from.len() > 1 && !files.is_directory(&target) {
            return self.complain(format!("{to}: Not a directory")).await;
        }
        let mut status = 0;
        for source in from {
            let path = within(files, target.clone(), source);
            if let Err(error) = change(files, &self.shell.absolute(source), &path) {
                status = self.complain(format!("{verb} '{source}': {error}")).await?;
            }
        }
        Ok(status)
    }
}

/// `target`, or what `source` is called in it if it is a directory.
fn within(files: &FileSystem, target: String, source: &str) -> String {
    let name = source.trim_end_matches('/').rsplit('/').next();
    match name {
        Some(name) if files.is_directory(&target) => {
            crate::apiserver::runtime::filesystem::join(&target, name)
        }
        _ => target,
    }
}

fn copy(files: &FileSystem, from: &str, to: &str, recursive: bool) -> Result<(), FsError> {
    let metadata = files.metadata(from)?;
    match metadata.kind {
        Kind::Directory if !recursive => Err(FsError::IsADirectory),
        // A tree copied into itself would have no end.
        Kind::Directory if format!("{to}/").starts_with(&format!("{from}/")) => Err(FsError::Busy),
        Kind::Directory => {
            files.make_directory(to, true)?;
            for (name, _) in files.list(from)? {
                copy(
                    files,
                    &format!("{from}/{name}"),
                    &format!("{to}/{name}"),
                    true,
                )?;
            }
            files.set_mode(to, metadata.mode)
        }
        Kind::File(_) | Kind::Link(_) => {
            let bytes = files.read(from)?;
            files.write(to, &bytes)?;
            files.set_mode(to, metadata.mode)
        }
    }
}

/// A change of permission bits.
enum Mode {
    Exactly(u32),
    Add(u32),
    Remove(u32),
}

impl Mode {
    fn parse(text: &str) -> Option<Self> {
        if let Ok(bits) = u32::from_str_radix(text, 8) {
            return (bits <= 0o7777).then_some(Self::Exactly(bits));
        }
        let at = text.find(['+', '-'])?;
        let (who, change) = text.split_at(at);
        let mut bits = 0;
        for letter in change[1..].chars() {
            bits |= match letter {
                'r' => 4,
                'w' => 2,
                'x' => 1,
                _ => return None,
            };
        }
        let mut mask = 0;
        for letter in who.chars() {
            mask |= match letter {
                'u' => bits << 6,
                'g' => bits << 3,
                'o' => bits,
                'a' => bits * 0o111,
                _ => return None,
            };
        }
        if who.is_empty() {
            mask = bits * 0o111;
        }
        Some(if change.starts_with('+') {
            Self::Add(mask)
        } else {
            Self::Remove(mask)
        })
    }

    fn apply(&self, before: u32) -> u32 {
        match self {
            Self::Exactly(bits) => *bits,
            Self::Add(bits) => before | bits,
            Self::Remove(bits) => before & !bits,
        }
    }
}
