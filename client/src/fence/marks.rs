//! Storage of a gate's marks: in memory only, or in a file.
//!
//! The invariant of the file: once [`raise`](FenceMarks::raise) returned, the mark is at least that
//! high, also after a crash. The file is replaced atomically: written to a temporary file, synced,
//! renamed, and the directory synced.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use parking_lot::Mutex;

use crate::id::Token;

/// First line of a file of marks: format and version.
const HEADING: &str = "tenure fence marks 1";
/// Last line of a file of marks: a truncated file lacks it.
const ENDING: &str = "end";

/// Keeps the greatest token per lock for a [`FenceGate`](crate::fence::FenceGate). Its methods may
/// block; the gate calls them on blocking threads.
pub trait FenceMarks: Send + Sync + 'static {
    /// All stored marks.
    ///
    /// # Errors
    /// When the marks cannot be read.
    fn load(&self) -> io::Result<BTreeMap<String, Token>>;

    /// Stores that `token` of `name` was seen; returns once it is durable. Calls may come from
    /// several threads. A smaller token must not replace a stored one.
    ///
    /// # Errors
    /// When the mark may not be durable. The gate then does not admit the token.
    fn raise(&self, name: &str, token: Token) -> io::Result<()>;
}

/// Keeps marks in memory only: they are lost with the process.
#[derive(Debug, Clone, Copy, Default)]
pub struct VolatileMarks;

impl FenceMarks for VolatileMarks {
    fn load(&self) -> io::Result<BTreeMap<String, Token>> {
        Ok(BTreeMap::new())
    }

    fn raise(&self, _: &str, _: Token) -> io::Result<()> {
        Ok(())
    }
}

/// Stores the marks in a text file, one `TOKEN NAME` per line. For one process at a time.
///
/// ```no_run
/// use tenure::fence::{FenceGate, FileMarks};
///
/// # async fn example() -> std::io::Result<()> {
/// let gate = FenceGate::open(FileMarks::new("/var/lib/printer/fence")).await?;
/// # drop(gate);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FileMarks {
    path: PathBuf,
    /// The marks of the file, including those whose write failed. Locked while writing, so that an
    /// older state never replaces a newer one.
    marks: Mutex<Option<BTreeMap<String, Token>>>,
}

impl FileMarks {
    /// Marks in the file at `path`, which is created with the first mark.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            marks: Mutex::new(None),
        }
    }
}

impl FenceMarks for FileMarks {
    fn load(&self) -> io::Result<BTreeMap<String, Token>> {
        let mut marks = self.marks.lock();
        let known = read(&self.path)?;
        *marks = Some(known.clone());
        Ok(known)
    }

    fn raise(&self, name: &str, token: Token) -> io::Result<()> {
        let mut marks = self.marks.lock();
        let marks = match &mut *marks {
            Some(marks) => marks,
            unread => unread.insert(read(&self.path)?),
        };
        let mark = marks.entry(name.to_owned()).or_insert(token);
        *mark = token.max(*mark);
        // Written even if no mark was raised: the previous write may have failed.
        replace(&self.path, render(marks).as_bytes())
    }
}

fn read(path: &Path) -> io::Result<BTreeMap<String, Token>> {
    match fs::read_to_string(path) {
        Ok(text) => parse(&text).map_err(|line| {
            let text = format!("line {line} of {} is damaged", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

/// Names may hold anything, line ends included, so they are escaped as in Rust source.
fn render(marks: &BTreeMap<String, Token>) -> String {
    let mut text = format!("{HEADING}\n");
    for (name, token) in marks {
        text.push_str(&format!("{token} {}\n", name.escape_default()));
    }
    text.push_str(ENDING);
    text.push('\n');
    text
}

/// Parses the marks of a file; the error is the number of the invalid line.
fn parse(text: &str) -> Result<BTreeMap<String, Token>, usize> {
    let mut lines = (1..).zip(text.lines());
    if lines.next() != Some((1, HEADING)) {
        return Err(1);
    }
    let mut marks = BTreeMap::new();
    let mut last = 1;
    for (number, line) in lines {
        if line == ENDING {
            return Ok(marks);
        }
        let mark = line.split_once(' ').and_then(|(token, name)| {
            let token: i64 = token.parse().ok()?;
            Some((unescape(name)?, Token::new(token)))
        });
        let (name, token) = mark.ok_or(number)?;
        marks.insert(name, token);
        last = number;
    }
    Err(last + 1)
}

/// Undoes `str::escape_default`.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let kind = rest.chars().next()?;
        rest = &rest[kind.len_utf8()..];
        match kind {
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'n' => out.push('\n'),
            '\\' | '\'' | '"' => out.push(kind),
            'u' => {
                let (code, after) = rest.strip_prefix('{')?.split_once('}')?;
                out.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
                rest = after;
            }
            _ => return None,
        }
    }
    out.push_str(rest);
    Some(out)
}

/// Replaces a file atomically: a crash leaves the old or the new content.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = PathBuf::from(aside);
    let mut file = File::create(&aside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    // Without this a crash may undo the rename.
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fence::{FenceError, FenceGate};

    #[tokio::test]
    async fn a_gate_that_starts_again_knows_its_marks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("marks");
        let gate = FenceGate::open(FileMarks::new(&path)).await.unwrap();
        drop(gate.admit("jobs/42", Token::new(17)).await.unwrap());
        drop(gate.admit("line\nend \"ä\"", Token::new(3)).await.unwrap());
        drop(gate);

        let gate = FenceGate::open(FileMarks::new(&path)).await.unwrap();
        let result = gate.admit("jobs/42", Token::new(16)).await;
        assert!(matches!(result, Err(FenceError::Stale { .. })));
        assert_eq!(gate.current("line\nend \"ä\"").await, Some(Token::new(3)));
    }

    #[test]
    fn a_mark_that_is_stored_never_goes_down() {
        let folder = tempfile::tempdir().unwrap();
        let marks = FileMarks::new(folder.path().join("marks"));
        marks.raise("a", Token::new(9)).unwrap();
        marks.raise("a", Token::new(5)).unwrap();
        assert_eq!(marks.load().unwrap()["a"], Token::new(9));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_an_empty_one() {
        for (text, line) in [
            ("", 1),
            ("something else\n", 1),
            ("tenure fence marks 1\nx a\nend\n", 2),
            ("tenure fence marks 1\n7 a\\q\nend\n", 2),
            ("tenure fence marks 1\n7 a\n", 3),
        ] {
            assert_eq!(parse(text), Err(line), "{text:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("marks");
        fs::write(&path, "tenure fence marks 1\n7 a\n").unwrap();
        let marks = FileMarks::new(&path);
        assert!(marks.load().is_err());
        assert!(marks.raise("a", Token::new(9)).is_err());
    }

    #[test]
    fn a_file_cut_short_anywhere_is_never_read_as_fewer_marks() {
        let marks = BTreeMap::from([
            ("a".to_owned(), Token::new(12)),
            ("b".to_owned(), Token::new(34)),
        ]);
        let text = render(&marks);
        assert_eq!(parse(&text).unwrap(), marks);
        // All but the last line end.
        for end in 0..text.len() - 1 {
            if let Ok(read) = parse(&text[..end]) {
                panic!("{:?} was read as {read:?}", &text[..end]);
            }
        }
    }
}
