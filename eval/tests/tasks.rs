//! Tasks of the repository, on the model that was trained for one of them.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

use std::path::{Path, PathBuf};

use inkstone_engine::{Model, SessionConfig};
use inkstone_eval::{Definition, Head, Record, Task, ask};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

#[test]
fn the_intent_model_has_right_what_its_card_says() {
    let path = workspace().join("eval/tasks/intent.toml");
    let (definition, folder) = Definition::find(path.to_str().unwrap(), Path::new("")).unwrap();
    let task = Task::load(definition, &folder).unwrap();
    let model = Model::open(&workspace().join("finetune/models/intent/intent.ink")).unwrap();
    let config = SessionConfig {
        threads: Some(1),
        ..SessionConfig::default()
    };
    let mut session = model.session(&config).unwrap();
    let head = Head {
        task: "intent".into(),
        task_hash: String::new(),
        model: String::new(),
        model_hash: String::new(),
        constrained: false,
        session: String::new(),
        rows: task.len(),
    };
    let folder = tempfile::tempdir().unwrap();
    let mut record = Record::open(&folder.path().join("answers.jsonl"), head, false).unwrap();
    ask(&task, &model, &mut session, &mut record, &mut |_| true).unwrap();
    let scores = record.scores();
    // The same bits everywhere, so the same answers.
    let right: Vec<(&str, usize, usize)> = scores
        .iter()
        .map(|s| (s.group.as_str(), s.right, s.rows))
        .collect();
    let wanted = [
        ("all", 436, 478),
        ("hass-intents", 85, 95),
        ("home-assistant", 351, 383),
    ];
    assert_eq!(right, wanted);
}

#[test]
fn definitions_that_come_along_can_be_read() {
    for (name, _) in inkstone_eval::task::TASKS {
        let (task, folder) = Definition::find(name, Path::new("materials")).unwrap();
        assert_eq!(
            (task.name.as_str(), folder.as_path()),
            (*name, Path::new("materials"))
        );
        assert!(task.is_constrained() && !task.licence.is_empty() && !task.source.is_empty());
    }
}
