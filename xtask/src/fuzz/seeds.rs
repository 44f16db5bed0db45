//! Inputs that a fuzz target begins with: lines of hexadecimal digits in a file, so that a diff shows them.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result, bail};

/// Makes each seed in `from` a file in the folder `to`, where nothing else is then. Without `from` there are none.
pub(crate) fn write(from: &Path, to: &Path) -> Result<()> {
    let text = match fs::read_to_string(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.with_context(|| format!("reading {}", from.display()))?,
    };
    let seeds = parse(&text).with_context(|| from.display().to_string())?;
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("removing {}", to.display()))?;
    }
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for (line, bytes) in seeds {
        let file = to.join(format!("line-{line:03}"));
        fs::write(&file, bytes).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

/// Line numbers and bytes. `#` begins a comment; a line that is indented continues the one before.
fn parse(text: &str) -> Result<Vec<(usize, Vec<u8>)>> {
    let mut seeds: Vec<(usize, Vec<u8>)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let bytes = bytes(line).with_context(|| format!("line {number}: not pairs of hexadecimal digits"))?;
        match seeds.last_mut() {
            _ if bytes.is_empty() => {}
            Some((_, seed)) if line.starts_with(' ') => seed.extend(bytes),
            None if line.starts_with(' ') => bail!("line {number} continues nothing"),
            _ => seeds.push((number, bytes)),
        }
    }
    Ok(seeds)
}

fn bytes(line: &str) -> Option<Vec<u8>> {
    let digits = line.split('#').next()?.chars().filter(|c| !c.is_whitespace());
    let digits: Vec<u8> = digits.map(|c| u8::try_from(c.to_digit(16)?).ok()).collect::<Option<_>>()?;
    digits.chunks(2).map(|pair| Some(pair[0] << 4 | pair.get(1)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_comments_and_continuations() {
        let text = "# frames\n\n45 00 001c  # IPv4\n  ff\n60\n";
        assert_eq!(parse(text).unwrap(), [(3, vec![0x45, 0, 0, 0x1c, 0xff]), (5, vec![0x60])]);
    }

    #[test]
    fn what_is_no_seed_is_named() {
        for text in ["45\n4", "45\n4g", "45\n4 50 6 é"] {
            assert!(parse(text).unwrap_err().to_string().starts_with("line 2"), "{text}");
        }
        assert!(parse(" 45").is_err());
    }
}
