//! `tar`, as `kubectl cp` needs it.
//!
//! Packing and unpacking are one command with one set of options, hence one file. Archives stream: the tar crate runs on a thread that may block, which ends when a pipe breaks.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tar::{Archive, Builder, EntryType, Header};

use super::{Call, Ended, create, open};
use crate::apiserver::runtime::filesystem::{FileSystem, Kind, join};
use crate::apiserver::runtime::shell::streams::{Input, Output, WriteError};

/// What `tar` is asked to do.
#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    action: Option<Action>,
    verbose: bool,
    file: Option<String>,
    directory: Option<String>,
    paths: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Create,
    Extract,
    List,
}

impl Call<'_> {
    pub(super) async fn tar(&mut self) -> Ended {
        let request = match Request::parse(self.arguments) {
            Ok(request) => request,
            Err(message) => return self.complain(message).await,
        };
        let directory = self
            .shell
            .absolute(request.directory.as_deref().unwrap_or("."));
        let files = Arc::clone(&self.shell.container.files);
        if !files.is_directory(&directory) {
            let message =
                format!("can't change directory to '{directory}': No such file or directory");
            return self.complain(message).await;
        }
        let file = request.file.as_deref().filter(|file| *file != "-");
        let Some(action) = request.action else {
            return self.complain("must specify one of -c, -x or -t").await;
        };
        let (stdout, stderr) = (self.streams.stdout.clone(), self.streams.stderr.clone());
        let status = if action == Action::Create {
            let archive = match file {
                None => stdout,
                Some(path) => match create(self.shell, path, true, &self.streams) {
                    Ok(output) => output,
                    Err(error) => return self.complain(format!("{path}: {error}")).await,
                },
            };
            blocking(move || pack(&files, &directory, &request, archive, &stderr)).await?
        } else {
            let archive = match file {
                None => self.streams.stdin.clone(),
                Some(path) => match open(self.shell, path) {
                    Ok(reader) => Input::new(reader),
                    Err(error) => return self.complain(format!("{path}: {error}")).await,
                },
            };
            let extract = action == Action::Extract;
            blocking(move || unpack(&files, &directory, &request, extract, &archive, &stdout))
                .await?
        };
        match status {
            Ok(status) => Ok(status),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(WriteError::Broken),
            Err(error) => self.complain(error).await,
        }
    }
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, WriteError> {
    // The work does not panic, so that a failed join is the runtime's end.
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| WriteError::Broken)
}

impl Request {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut request = Self::default();
        let mut rest = arguments.iter();
        let mut first = true;
        while let Some(argument) = rest.next() {
            let letters = match argument.strip_prefix('-') {
                Some("") => None,
                Some(letters) => Some(letters),
                // The first word is a bundle of letters even without its dash.
                None if first => Some(argument.as_str()),
                None => None,
            };
            let Some(letters) = letters else {
                request.paths.push(argument.clone());
                continue;
            };
            if let Some(long) = letters.strip_prefix('-') {
                match long.split_once('=') {
                    Some(("directory", directory)) => {
                        request.directory = Some(directory.to_owned());
                    }
                    Some(("file", file)) => request.file = Some(file.to_owned()),
                    _ => {}
                }
                // `--no-same-owner` and its like may precede the bundle.
                continue;
            }
            first = false;
            for letter in letters.chars() {
                match letter {
                    'c' => request.action = Some(Action::Create),
                    'x' => request.action = Some(Action::Extract),
                    't' => request.action = Some(Action::List),
                    'v' => request.verbose = true,
                    'm' | 'p' | 'o' | 'h' => {}
                    'f' | 'C' => {
                        let value = rest
                            .next()
                            .ok_or_else(|| format!("option requires an argument -- '{letter}'"))?;
                        let place = if letter == 'f' {
                            &mut request.file
                        } else {
                            &mut request.directory
                        };
                        *place = Some(value.clone());
                    }
                    other => return Err(format!("unrecognized option '{other}'")),
                }
            }
        }
        Ok(request)
    }
}

fn pack(
    files: &FileSystem,
    directory: &str,
    request: &Request,
    archive: Output,
    stderr: &Output,
) -> io::Result<u8> {
    let mut builder = Builder::new(io::BufWriter::with_capacity(32 * 1024, Blocking(archive)));
    let mut status = 0;
    let complain = |message: String| {
        // Nobody is left to tell if standard error is gone.
        let _ = stderr.blocking_write(format!("tar: {message}\n").as_bytes());
    };
    for path in &request.paths {
        let absolute = join(directory, path);
        if files.link_metadata(&absolute).is_err() {
            complain(format!("{path}: No such file or directory"));
            status = 1;
            continue;
        }
        let name = path.trim_start_matches('/');
        if name.len() < path.len() {
            complain("removing leading '/' from member names".to_owned());
        }
        let name = if name.is_empty() { "." } else { name };
        let mut left = vec![(name.trim_end_matches('/').to_owned(), absolute)];
        while let Some((name, path)) = left.pop() {
            add(&mut builder, files, &name, &path)?;
            if request.verbose {
                complain(name.clone());
            }
            let entries = match files.link_metadata(&path) {
                Ok(metadata) if metadata.is_directory() => files.list(&path).unwrap_or_default(),
                _ => Vec::new(),
            };
            left.extend(
                entries
                    .into_iter()
                    .rev()
                    .map(|(entry, _)| (format!("{name}/{entry}"), format!("{path}/{entry}"))),
            );
        }
    }
    builder.into_inner()?.flush()?;
    Ok(status)
}

fn add(
    builder: &mut Builder<impl io::Write>,
    files: &FileSystem,
    name: &str,
    path: &str,
) -> io::Result<()> {
    let metadata = files.link_metadata(path).map_err(io::Error::other)?;
    let mut header = Header::new_gnu();
    header.set_mode(metadata.mode);
    let modified = metadata.modified.duration_since(UNIX_EPOCH);
    header.set_mtime(modified.unwrap_or_default().as_secs());
    header.set_uid(0);
    header.set_gid(0);
    match metadata.kind {
        Kind::Directory => {
            header.set_entry_type(EntryType::Directory);
            header.set_size(0);
            builder.append_data(&mut header, format!("{name}/"), io::empty())
        }
        Kind::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, name, target)
        }
        Kind::File(_) => {
            let bytes = files.read(path).map_err(io::Error::other)?;
            header.set_entry_type(EntryType::Regular);
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, bytes.as_ref())
        }
    }
}

fn unpack(
    files: &FileSystem,
    directory: &str,
    request: &Request,
    extract: bool,
    archive: &Input,
    stdout: &Output,
) -> io::Result<u8> {
    let mut reader = archive.blocking();
    let mut archive = Archive::new(&mut *reader);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !extract || request.verbose {
            stdout
                .blocking_write(format!("{name}\n").as_bytes())
                .map_err(|_| io::ErrorKind::BrokenPipe)?;
        }
        if !extract {
            continue;
        }
        // Names that climb out of the directory end at its root, as `join` works by name.
        let path = join(directory, join("/", &name).trim_start_matches('/'));
        let mode = entry.header().mode().unwrap_or(0o644) & 0o7777;
        let modified = entry
            .header()
            .mtime()
            .ok()
            .and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
            .unwrap_or_else(SystemTime::now);
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            files
                .make_directory(&path, true)
                .map_err(io::Error::other)?;
        } else if kind.is_symlink() {
            let target = entry.link_name_bytes().unwrap_or_default();
            let target = String::from_utf8_lossy(&target).into_owned();
            // An old link or file gives way.
            let _ = files.remove(&path, false);
            files.link(&target, &path).map_err(io::Error::other)?;
            continue;
        } else if kind.is_file() {
            if let Some((above, _)) = path.rsplit_once('/') {
                files
                    .make_directory(above, true)
                    .map_err(io::Error::other)?;
            }
            files.create(&path, true).map_err(io::Error::other)?;
            let mut buffer = vec![0; 32 * 1024];
            loop {
                let read = entry.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                files
                    .append(&path, &buffer[..read])
                    .map_err(io::Error::other)?;
            }
        } else {
            continue;
        }
        files.set_mode(&path, mode).map_err(io::Error::other)?;
        if !request.verbose || !kind.is_dir() {
            files
                .set_modified(&path, modified)
                .map_err(io::Error::other)?;
        }
    }
    // What follows the end of the archive is padding that the sender must be able to write.
    while reader.blocking_chunk(usize::MAX).is_some() {}
    Ok(0)
}

/// An output for a thread that may block.
struct Blocking(Output);

impl io::Write for Blocking {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.blocking_write(buffer).map_err(|error| match error {
            WriteError::Broken => io::ErrorKind::BrokenPipe.into(),
            WriteError::File(error) => io::Error::other(error),
        })?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn the_command_lines_of_kubectl_are_understood() {
        let parse = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            Request::parse(&words)
        };
        let extract = parse("-xmf - -C /tmp").unwrap();
        assert_eq!(extract.action, Some(Action::Extract));
        assert_eq!(extract.file.as_deref(), Some("-"));
        assert_eq!(extract.directory.as_deref(), Some("/tmp"));
        let pack = parse("cf - /etc").unwrap();
        assert_eq!(pack.action, Some(Action::Create));
        assert_eq!(pack.paths, ["/etc"]);
        let plain = parse("--no-same-permissions --no-same-owner -xmf - -C /a").unwrap();
        assert_eq!(plain.action, Some(Action::Extract));
        assert_eq!(plain.directory.as_deref(), Some("/a"));
        assert!(parse("xf").is_err());
    }
}
