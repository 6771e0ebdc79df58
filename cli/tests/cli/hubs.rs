//! `pull` from hubs, against a server on the loopback.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::thread;
use std::time::Instant;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::mock::{Answer, Asked, Server};
use crate::run::{Ended, Sandbox, ended};

/// Bytes that no compression and no repetition hides.
fn model() -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..300_000).map(|_| next()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

fn listing(files: &[(&str, &[u8])], licence: &str) -> Answer {
    let files: Vec<_> = files
        .iter()
        .map(|(name, bytes)| json!({"rfilename": name, "size": bytes.len(), "lfs": {"sha256": sha256(bytes)}}))
        .collect();
    Answer::json(&json!({"siblings": files, "cardData": {"license": licence}}))
}

/// A hub with one model in one file; `serve` answers for the file.
fn hub(serve: impl Fn(&Asked, &[u8]) -> Answer + Send + Sync + 'static) -> Server {
    let file = model();
    Server::new(move |asked| {
        if asked.target.starts_with("/api/models/a/b/") {
            listing(&[("x.gguf", &file)], "mit")
        } else {
            serve(asked, &file)
        }
    })
}

fn pull(sandbox: &Sandbox, server: &Server) -> Ended {
    sandbox.run_with(
        &["pull", "hf:a/b", "--json"],
        &[("HF_ENDPOINT", &server.url())],
    )
}

fn pulled(ended: &Ended) -> Vec<u8> {
    let value = ended.json();
    std::fs::read(value["path"].as_str().unwrap()).unwrap()
}

#[test]
fn a_file_is_pulled_once_and_listed() {
    let server = hub(Answer::file);
    let sandbox = Sandbox::new();
    let first = pull(&sandbox, &server);
    assert_eq!(pulled(&first), model());
    assert_eq!(first.json()["licence"], "MIT");
    let requests = server.asked().len();
    assert_eq!(pull(&sandbox, &server).json()["fetched"], false);
    assert_eq!(server.asked().len(), requests, "the cache needs no network");
    let list = sandbox.run(&["list", "--json"]).json();
    assert_eq!(list[0]["name"], "hf:a/b");
    assert!(!sandbox.files().iter().any(|f| f.ends_with(".part")));
    assert_eq!(
        sandbox.run(&["remove", "hf:a/b"]).code,
        Some(2),
        "nobody can be asked"
    );
    assert_eq!(sandbox.run(&["remove", "hf:a/b", "-y"]).code, Some(0));
    assert!(sandbox.files().is_empty());
}

#[test]
fn a_broken_connection_is_taken_up_where_it_broke() {
    let server = hub(|asked, file| {
        let mut answer = Answer::file(asked, file);
        answer.sent = 100_000;
        answer
    });
    let sandbox = Sandbox::new();
    assert_eq!(pulled(&pull(&sandbox, &server)), model());
    let starts: Vec<_> = server.asked().iter().skip(1).map(Asked::start).collect();
    assert_eq!(starts, [None, Some(100_000), Some(200_000)]);
}

#[test]
fn a_later_run_resumes_what_an_earlier_one_left() {
    static UP: AtomicUsize = AtomicUsize::new(0);
    let server = hub(|asked, file| {
        let mut answer = Answer::file(asked, file);
        if UP.load(Ordering::Relaxed) == 0 {
            answer = match asked.start() {
                None => Answer {
                    sent: 70_000,
                    ..answer
                },
                Some(_) => Answer::new(503, "busy"),
            };
        }
        answer
    });
    let sandbox = Sandbox::new();
    let failed = pull(&sandbox, &server);
    assert_eq!(failed.code, Some(1));
    assert!(failed.error().contains("HTTP 503"), "{}", failed.stderr);
    assert!(sandbox.files().iter().any(|f| f.ends_with(".part")));
    assert!(
        sandbox
            .run(&["list", "--json"])
            .json()
            .as_array()
            .unwrap()
            .is_empty()
    );
    UP.store(1, Ordering::Relaxed);
    assert_eq!(pulled(&pull(&sandbox, &server)), model());
    assert_eq!(server.asked().last().unwrap().start(), Some(70_000));
}

#[test]
fn a_server_without_ranges_is_read_from_the_start() {
    static TIMES: AtomicUsize = AtomicUsize::new(0);
    let server = hub(|_, file| Answer {
        sent: if TIMES.fetch_add(1, Ordering::Relaxed) == 0 {
            5000
        } else {
            usize::MAX
        },
        ..Answer::new(200, file)
    });
    assert_eq!(pulled(&pull(&Sandbox::new(), &server)), model());
}

#[test]
fn a_file_with_another_hash_never_gets_its_name() {
    let server = hub(|asked, file| {
        let mut wrong = file.to_vec();
        wrong[7] ^= 1;
        Answer::file(asked, &wrong)
    });
    let sandbox = Sandbox::new();
    let ended = pull(&sandbox, &server);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.error().contains(&sha256(&model())),
        "{}",
        ended.stderr
    );
    assert_eq!(
        sandbox
            .files()
            .iter()
            .filter(|f| f.contains("x.gguf"))
            .count(),
        0
    );
}

#[test]
fn a_missing_repository_is_told_with_every_attempt() {
    let server = Server::new(|_| Answer::new(404, "{}"));
    let ended = pull(&Sandbox::new(), &server);
    let error = ended.error();
    for part in [
        "cache: not there",
        "hf:a/b: http://127.0.0.1",
        "HTTP 404",
        "no such repository",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn the_token_reaches_the_hub_and_no_other_host() {
    let file = model();
    let store = Server::new(move |asked| Answer::file(asked, &file));
    let elsewhere = format!("{}/blob", store.other_host());
    let server = hub(move |_, _| Answer::redirect(elsewhere.clone()));
    let environment = [("HF_ENDPOINT", &*server.url()), ("HF_TOKEN", "secret")];
    let ended = Sandbox::new().run_with(&["pull", "hf:a/b"], &environment);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        server
            .asked()
            .iter()
            .all(|a| a.header("authorization") == Some("Bearer secret"))
    );
    assert_eq!(store.asked().len(), 1);
    assert_eq!(store.asked()[0].header("authorization"), None);
}

#[test]
fn a_proxy_of_the_environment_is_used() {
    let proxy = Server::new(|_| Answer::new(502, ""));
    let environment = [
        ("HF_ENDPOINT", "https://hub.invalid"),
        ("HTTPS_PROXY", &*proxy.url()),
    ];
    let ended = Sandbox::new().run_with(&["pull", "hf:a/b"], &environment);
    assert_eq!(ended.code, Some(1));
    let asked = proxy.asked();
    assert!(!asked.is_empty(), "{}", ended.stderr);
    assert_eq!(
        (&*asked[0].method, &*asked[0].target),
        ("CONNECT", "hub.invalid:443")
    );
}

#[test]
fn a_checkpoint_comes_as_a_folder() {
    let files: [(&str, &[u8]); 4] = [
        ("config.json", b"{}"),
        ("model.safetensors", b"weights"),
        ("tokenizer.json", b"{}"),
        ("logo.png", b"no"),
    ];
    let server = Server::new(move |asked| match asked.target.rsplit('/').next() {
        Some(name) if asked.target.starts_with("/a/b/resolve/v2/") => {
            Answer::file(asked, files.iter().find(|f| f.0 == name).unwrap().1)
        }
        _ => listing(&files, "apache-2.0"),
    });
    let sandbox = Sandbox::new();
    let ended = sandbox.run_with(
        &["pull", "hf:a/b@v2", "--json"],
        &[("HF_ENDPOINT", &server.url())],
    );
    let folder = ended.json()["path"].as_str().unwrap().to_owned();
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["config.json", "model.safetensors", "tokenizer.json"]
    );
}

#[test]
fn model_scope_serves_the_same_way() {
    let file = model();
    let server = Server::new(move |asked| {
        if asked
            .target
            .starts_with("/api/v1/models/a/b/repo/files?Revision=master")
        {
            let row = json!({"Path": "x.gguf", "Type": "blob", "Size": file.len(), "Sha256": sha256(&file)});
            return Answer::json(&json!({"Code": 200, "Data": {"Files": [row]}}));
        }
        assert_eq!(asked.target, "/models/a/b/resolve/master/x.gguf");
        Answer::file(asked, &file)
    });
    let environment = [
        ("MODELSCOPE_ENDPOINT", &*server.url()),
        ("MODELSCOPE_API_TOKEN", "secret"),
    ];
    let ended = Sandbox::new().run_with(&["pull", "ms:a/b", "--json"], &environment);
    assert_eq!(ended.json()["source"], "ms:a/b");
    assert!(
        server
            .asked()
            .iter()
            .all(|a| a.header("authorization") == Some("Bearer secret"))
    );
}

#[test]
fn terms_on_a_model_card_want_consent() {
    let server = Server::new(|asked| match asked.target.contains("/resolve/") {
        true => Answer::file(asked, b"weights"),
        false => listing(&[("x.gguf", b"weights")], "gemma"),
    });
    let sandbox = Sandbox::new();
    let refused = pull(&sandbox, &server);
    assert!(
        refused.error().contains("ai.google.dev/gemma/terms"),
        "{}",
        refused.stderr
    );
    assert_eq!(server.asked().len(), 1, "nothing of the model was fetched");
    let environment = [
        ("HF_ENDPOINT", &*server.url()),
        ("INKSTONE_ACCEPT_LICENSE", "gemma"),
    ];
    let accepted = sandbox
        .run_with(&["pull", "hf:a/b", "--json"], &environment)
        .json();
    assert_eq!(accepted["licence"], "LicenseRef-Gemma");
}

#[test]
fn a_file_larger_than_the_disk_is_not_begun() {
    let server = Server::new(|_| {
        Answer::json(&json!({"siblings": [{"rfilename": "x.gguf", "size": 1u64 << 60}]}))
    });
    let ended = pull(&Sandbox::new(), &server);
    assert!(ended.error().contains("INKSTONE_HOME"), "{}", ended.stderr);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn names_that_lead_outside_the_cache_are_not_written() {
    let server = Server::new(|asked| match asked.target.contains("/resolve/") {
        true => Answer::file(asked, b"evil"),
        false => listing(&[("../../x.gguf", b"evil"), ("/y.gguf", b"evil")], "mit"),
    });
    let sandbox = Sandbox::new();
    let ended = pull(&sandbox, &server);
    assert_eq!(ended.code, Some(1));
    assert_eq!(server.asked().len(), 1, "{}", ended.stderr);
}

#[test]
fn offline_asks_nobody() {
    let server = hub(Answer::file);
    let ended = Sandbox::new().run_with(
        &["pull", "hf:a/b", "--offline"],
        &[("HF_ENDPOINT", &server.url())],
    );
    assert_eq!(ended.code, Some(1));
    assert!(server.asked().is_empty());
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_with_130_and_leaves_what_can_be_resumed() {
    let server = hub(|asked, file| {
        if asked.start().is_some() {
            return Answer::file(asked, file);
        }
        // The announced rest never comes: the client waits for it until it is interrupted.
        let mut answer = Answer::new(200, &file[..50_000]);
        answer
            .headers
            .push(("Content-Length", file.len().to_string()));
        answer.headers.push(("X-Hold", "1".to_owned()));
        answer
    });
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["pull", "hf:a/b"]);
    command
        .env("HF_ENDPOINT", server.url())
        .stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !sandbox.files().iter().any(|f| f.ends_with(".part")) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    let id = child.id().to_string();
    assert!(
        std::process::Command::new("sh")
            .args(["-c", &format!("kill -INT {id}")])
            .status()
            .unwrap()
            .success()
    );
    let stopped = ended(child.wait_with_output().unwrap());
    assert_eq!(stopped.code, Some(130), "{}", stopped.stderr);
    assert!(
        stopped.error().contains("run the same command again"),
        "{}",
        stopped.stderr
    );
    assert_eq!(pulled(&pull(&sandbox, &server)), model());
}
