//! Commands that show the file system.

use jiff::Timestamp;

use super::{Call, Ended};
use crate::apiserver::runtime::filesystem::{CAPACITY, FileSystem, Kind, Metadata};

impl Call<'_> {
    pub(super) async fn ls(&mut self) -> Ended {
        let (options, mut operands) = self.options();
        if operands.is_empty() {
            operands.push(".");
        }
        let files = self.shell.container.files.clone();
        let long = options.contains('l');
        let (mut plain, mut directories) = (Vec::new(), Vec::new());
        let mut status = 0;
        for operand in operands {
            let path = self.shell.absolute(operand);
            // A link is shown itself in a long list, and for what it leads to otherwise.
            let metadata = if long {
                files.link_metadata(&path)
            } else {
                files.metadata(&path)
            };
            match metadata {
                Ok(metadata) if metadata.is_directory() && !options.contains('d') => {
                    directories.push((operand.to_owned(), path));
                }
                Ok(metadata) => plain.push((operand.to_owned(), metadata)),
                Err(error) => {
                    status = self.complain(format!("{operand}: {error}")).await?;
                }
            }
        }
        let several = directories.len() + usize::from(!plain.is_empty()) > 1;
        self.print(list(&plain, long)).await?;
        for (at, (operand, path)) in directories.iter().enumerate() {
            let mut entries = files.list(path).unwrap_or_default();
            if options.contains(['a', 'A']) {
                if options.contains('a') {
                    let itself = [".", ".."].into_iter().filter_map(|name| {
                        let path = crate::apiserver::runtime::filesystem::join(path, name);
                        Some((name.to_owned(), files.metadata(&path).ok()?))
                    });
                    entries.splice(0..0, itself.collect::<Vec<_>>());
                }
            } else {
                entries.retain(|(name, _)| !name.starts_with('.'));
            }
            if several {
                let gap = if at > 0 || !plain.is_empty() {
                    "\n"
                } else {
                    ""
                };
                self.print(format!("{gap}{operand}:\n")).await?;
            }
            if long {
                self.print(format!("total {}\n", entries.len() * 4)).await?;
            }
            self.print(list(&entries, long)).await?;
        }
        Ok(status)
    }

    pub(super) async fn stat(&mut self) -> Ended {
        let (options, operands) = self.options();
        let mut status = 0;
        let operands = if options.contains('c') {
            operands.get(1..).unwrap_or_default()
        } else {
            operands.as_slice()
        };
        for operand in operands {
            let path = self.shell.absolute(operand);
            match self.shell.container.files.metadata(&path) {
                Ok(metadata) => {
                    let text = format!(
                        "  File: {operand}\n  Size: {}\nAccess: ({:04o}/{})  Uid: (    0/    root)   Gid: (    0/    root)\n",
                        size(&metadata),
                        metadata.mode,
                        permissions(&metadata)
                    );
                    self.print(text).await?;
                }
                Err(error) => {
                    status = self
                        .complain(format!("can't stat '{operand}': {error}"))
                        .await?;
                }
            }
        }
        Ok(status)
    }

    pub(super) async fn du(&mut self) -> Ended {
        let (_, mut operands) = self.options();
        if operands.is_empty() {
            operands.push(".");
        }
        for operand in operands {
            let path = self.shell.absolute(operand);
            let bytes = total(&self.shell.container.files, &path);
            self.print(format!("{}\t{operand}\n", bytes.div_ceil(1024)))
                .await?;
        }
        Ok(0)
    }

    pub(super) async fn df(&mut self) -> Ended {
        let used = total(&self.shell.container.files, "/").div_ceil(1024);
        let all = CAPACITY / 1024;
        let text = format!(
            "Filesystem           1K-blocks      Used Available Use% Mounted on\noverlay              {all:9} {used:9} {:9} {:3}% /\n",
            all - used,
            used * 100 / all
        );
        self.print(text).await?;
        Ok(0)
    }
}

fn list(entries: &[(String, Metadata)], long: bool) -> String {
    entries
        .iter()
        .map(|(name, metadata)| {
            if !long {
                return format!("{name}\n");
            }
            let at = Timestamp::try_from(metadata.modified).unwrap_or_default();
            let arrow = match &metadata.kind {
                Kind::Link(target) => format!(" -> {target}"),
                Kind::File(_) | Kind::Directory => String::new(),
            };
            format!(
                "{}    1 root     root     {:9} {} {name}{arrow}\n",
                permissions(metadata),
                size(metadata),
                at.strftime("%b %e %H:%M")
            )
        })
        .collect::<Vec<_>>()
        .concat()
}

fn size(metadata: &Metadata) -> u64 {
    match &metadata.kind {
        Kind::File(bytes) => *bytes,
        Kind::Directory => 4096,
        Kind::Link(target) => target.len() as u64,
    }
}

fn permissions(metadata: &Metadata) -> String {
    let mut text = String::from(match metadata.kind {
        Kind::File(_) => "-",
        Kind::Directory => "d",
        Kind::Link(_) => "l",
    });
    for shift in [6, 3, 0] {
        let bits = metadata.mode >> shift;
        for (bit, letter) in [(4, 'r'), (2, 'w'), (1, 'x')] {
            text.push(if bits & bit != 0 { letter } else { '-' });
        }
    }
    if metadata.mode & 0o1000 != 0 {
        text.pop();
        text.push('t');
    }
    text
}

fn total(files: &FileSystem, path: &str) -> u64 {
    match files.link_metadata(path) {
        Ok(Metadata {
            kind: Kind::Directory,
            ..
        }) => files
            .list(path)
            .unwrap_or_default()
            .iter()
            .map(|(name, _)| total(files, &format!("{path}/{name}")))
            .sum(),
        Ok(metadata) => size(&metadata),
        Err(_) => 0,
    }
}
