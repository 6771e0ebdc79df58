//! How good the files are, and what each stored form of keys and values costs: speed must not be bought with it.

use crate::arguments::Arguments;
use crate::cases::{Case, Origin};
use crate::matches::Entry;
use crate::report::{KvQuality, Report};
use crate::{needle, note};
use anyhow::Result;
use inkstone_benches::protocol::Text;
use inkstone_engine::{KVS, Model, SessionConfig};
use inkstone_eval::{Options, perplexity};
use std::fs;
use std::path::{Path, PathBuf};

/// The scored text, and the one that needles are hidden in.
const SCORED: &str = "wikitext-2-test.txt";
const HAYSTACK: &str = "wikitext-2-valid.txt";

/// Scores the files of a case whose weights mean something.
pub(crate) fn measure(
    case: &Case,
    entries: &[Entry],
    arguments: &Arguments,
    report: &mut Report,
) -> Result<()> {
    if arguments.chunks == 0 || matches!(case.origin, Origin::Random(_)) {
        return Ok(());
    }
    let (Some(scored), Some(haystack)) = (text(SCORED), text(HAYSTACK)) else {
        note("INKSTONE_MATERIALS has no corpora/wikitext-2-*.txt: quality is not measured");
        return Ok(());
    };
    for entry in entries {
        note(format_args!("{}: perplexity of {}", case.name, entry.side));
        let (perplexity, chunks) = entry.worker()?.perplexity(Text {
            model: entry.path.clone(),
            text: scored.clone(),
            chunks: arguments.chunks,
            threads: arguments.most_threads(),
        })?;
        report.perplexity(case.name, entry.side, entry.format, perplexity, chunks);
    }
    if arguments.kv_quality {
        forms(
            case,
            &entries[0].path,
            &scored,
            &haystack,
            arguments,
            report,
        )?;
    }
    Ok(())
}

/// Scores our file with each stored form of keys and values.
fn forms(
    case: &Case,
    model: &Path,
    scored: &Path,
    haystack: &Path,
    arguments: &Arguments,
    report: &mut Report,
) -> Result<()> {
    let model = Model::open(model)?;
    let (scored, haystack) = (fs::read_to_string(scored)?, fs::read_to_string(haystack)?);
    let options = Options {
        chunks: Some(arguments.chunks),
        ..Options::default()
    };
    for &(name, kv) in KVS {
        note(format_args!("{}: keys and values as {name}", case.name));
        let config = SessionConfig {
            threads: Some(arguments.most_threads()),
            kv,
            ..SessionConfig::default()
        };
        let scored = perplexity(&model, &config, &scored, &options, &mut |_| ())?;
        report.kv(KvQuality {
            case: case.name,
            kv: name,
            perplexity: scored.perplexity,
            needle_loss: needle::loss(&model, &config, &haystack)?,
        });
    }
    Ok(())
}

fn text(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("INKSTONE_MATERIALS")?;
    let path = Path::new(&folder).join("corpora").join(name);
    path.is_file().then_some(path)
}
