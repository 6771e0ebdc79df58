//! Small vocabularies of our own: what sections are made of them, and what hostile ones do.

#![allow(missing_docs, reason = "a test binary")]

use inkstone_text::{
    Algorithm, Detokenizer, Error, Kind, Merge, Options, Pretokenizer, SpacePrefix, Token,
    Tokenizer, Vocabulary, build, pretokenizer,
};

/// All bytes, three control tokens, and a few words.
fn byte_level() -> Vocabulary {
    let mut tokens: Vec<Token> = (0..=255)
        .map(|byte: u8| Token::new(vec![byte], 0.0, Kind::Normal))
        .collect();
    for name in ["<s>", "</s>", "<s><x>"] {
        tokens.push(Token::new(name.into(), 0.0, Kind::Control));
    }
    tokens.push(Token::new("<u>".into(), 0.0, Kind::UserDefined));
    let mut merges = Vec::new();
    for (left, right) in [("a", "a"), ("aa", "aa"), (" ", "b"), (" b", "c")] {
        let id = |text: &str| {
            let place = tokens.iter().position(|t| t.bytes == text.as_bytes());
            place.expect("merges follow their parts") as u32
        };
        let (left_id, right_id) = (id(left), id(right));
        merges.push(Merge {
            left: left_id,
            right: right_id,
            into: tokens.len() as u32,
        });
        tokens.push(Token::new(
            format!("{left}{right}").into(),
            0.0,
            Kind::Normal,
        ));
    }
    Vocabulary {
        algorithm: Algorithm::Bytes(merges),
        tokens,
        pretokenizer: Pretokenizer::by_name("gpt2").expect("the table has it"),
        nfc: false,
        fold_spaces: false,
        collapse_spaces: false,
        space_prefix: SpacePrefix::Never,
        ignore_merges: false,
        byte_fallback: false,
        fuse_unknown: false,
        bos: Some(256),
        eos: Some(257),
        unknown: None,
        add_bos: true,
        add_eos: false,
    }
}

/// SentencePiece's BPE with byte fallback; a score for each piece.
fn scores() -> Vocabulary {
    let mut tokens = vec![
        Token::new("<unk>".into(), 0.0, Kind::Unknown),
        Token::new("<s>".into(), 0.0, Kind::Control),
    ];
    tokens.extend((0..=255).map(|byte: u8| Token::new(vec![byte], 0.0, Kind::Byte)));
    let pieces = ["ab", "bc", " a", "abc", " ab", "a", "b", "c", " "];
    for (rank, piece) in pieces.iter().enumerate() {
        tokens.push(Token::new((*piece).into(), -(rank as f32), Kind::Normal));
    }
    Vocabulary {
        algorithm: Algorithm::Scores,
        tokens,
        pretokenizer: pretokenizer::NONE,
        fold_spaces: true,
        space_prefix: SpacePrefix::First,
        byte_fallback: true,
        fuse_unknown: true,
        bos: Some(1),
        eos: None,
        unknown: Some(0),
        ..byte_level()
    }
}

fn unigram() -> Vocabulary {
    Vocabulary {
        algorithm: Algorithm::Unigram,
        byte_fallback: false,
        ..scores()
    }
}

static ALL: &[fn() -> Vocabulary] = &[byte_level, scores, unigram];

fn section(vocabulary: &Vocabulary) -> Vec<u8> {
    build(vocabulary).expect("the vocabulary is sound")
}

fn pieces(vocabulary: &Vocabulary, text: &str, options: Options) -> Vec<String> {
    let section = section(vocabulary);
    let tokenizer = Tokenizer::parse(&section).expect("a section that was built is read");
    let mut ids = Vec::new();
    tokenizer.encode(text, options, &mut ids);
    let bytes = ids
        .iter()
        .map(|&id| tokenizer.token_bytes(id).expect("ids have tokens"));
    bytes
        .map(|b| String::from_utf8_lossy(b).into_owned())
        .collect()
}

const SPECIAL: Options = Options {
    parse_special: true,
    ..Options::PLAIN
};

#[test]
fn control_tokens_are_parsed_only_where_asked_and_user_defined_ones_always() {
    let vocabulary = byte_level();
    assert_eq!(
        pieces(&vocabulary, "x<s><u>", Options::PLAIN),
        ["x", "<", "s", ">", "<u>"]
    );
    assert_eq!(pieces(&vocabulary, "x<s><u>", SPECIAL), ["x", "<s>", "<u>"]);
}

#[test]
fn the_longest_token_in_the_text_wins() {
    assert_eq!(
        pieces(&byte_level(), "<s><x><s>", SPECIAL),
        ["<s><x>", "<s>"]
    );
}

#[test]
fn begin_and_end_tokens_follow_the_vocabulary_unless_told_otherwise() {
    let vocabulary = byte_level();
    let both = Options {
        add_bos: None,
        add_eos: Some(true),
        parse_special: false,
    };
    assert_eq!(pieces(&vocabulary, "x", Options::default()), ["<s>", "x"]);
    assert_eq!(pieces(&vocabulary, "x", both), ["<s>", "x", "</s>"]);
}

#[test]
fn tokens_take_the_white_space_they_are_said_to_take() {
    let mut vocabulary = byte_level();
    vocabulary.tokens[256].lstrip = true;
    vocabulary.tokens[257].rstrip = true;
    assert_eq!(
        pieces(&vocabulary, "x \n<s> </s>\t y", SPECIAL),
        ["x", "<s>", " ", "</s>", "y"]
    );
}

#[test]
fn scores_order_merges_and_bytes_stand_in_for_what_is_missing() {
    assert_eq!(pieces(&scores(), "abc", Options::PLAIN), [" ", "abc"]);
    assert_eq!(
        pieces(&scores(), "bc\u{2581}aé", Options::PLAIN),
        [" ", "bc", " a", "\u{fffd}", "\u{fffd}"]
    );
}

#[test]
fn neighbouring_unknown_characters_share_a_token() {
    assert_eq!(
        pieces(&unigram(), "aéèb", Options::PLAIN),
        [" a", "<unk>", "b"]
    );
}

#[test]
fn the_detokenizer_holds_incomplete_characters_and_writes_what_decode_does() {
    let section = section(&byte_level());
    let tokenizer = Tokenizer::parse(&section).expect("sound");
    let mut seen = String::new();
    let mut detokenizer = Detokenizer::new(tokenizer);
    for (&byte, expected) in "é😀".as_bytes().iter().zip(["", "é", "é", "é", "é", "é😀"])
    {
        detokenizer
            .push(u32::from(byte), &mut seen)
            .expect("strings take all");
        assert_eq!(seen, expected);
    }
    for bytes in [
        &b"a\xc3b"[..],
        b"\xf0\x9f\x98",
        b"\xff\xe4\xb8",
        b"\xe4\xb8a\xad\xed\xa0\x80",
    ] {
        let ids: Vec<u32> = bytes.iter().map(|&byte| byte.into()).collect();
        assert_eq!(tokenizer.decode(&ids), String::from_utf8_lossy(bytes));
    }
}

#[test]
fn the_space_before_a_text_is_taken_away_again() {
    let section = section(&scores());
    let tokenizer = Tokenizer::parse(&section).expect("sound");
    for text in ["abc ab", " abc", "  a", "é a", ""] {
        let mut ids = Vec::new();
        tokenizer.encode(text, Options::default(), &mut ids);
        assert_eq!(tokenizer.decode(&ids), text);
    }
    let mut text = String::new();
    let mut detokenizer = Detokenizer::continuing(tokenizer);
    let space_ab = tokenizer.id_of(" ab").expect("a piece");
    detokenizer
        .push(space_ab, &mut text)
        .expect("strings take all");
    assert_eq!(text, " ab");
}

#[test]
fn tokens_are_found_by_their_bytes_or_names() {
    let section = section(&byte_level());
    let tokenizer = Tokenizer::parse(&section).expect("sound");
    for id in 0..128 {
        let name = str::from_utf8(tokenizer.token_bytes(id).expect("there")).expect("ASCII");
        assert_eq!(tokenizer.id_of(name), Some(id));
    }
    assert_eq!(tokenizer.id_of("</s>"), Some(257));
    assert_eq!(tokenizer.id_of("nothing"), None);
    assert_eq!(
        (tokenizer.bos(), tokenizer.is_control(256)),
        (Some(256), true)
    );
}

#[test]
fn ids_without_tokens_cannot_be_built() {
    let vocabulary = Vocabulary {
        eos: Some(9999),
        ..byte_level()
    };
    assert_eq!(build(&vocabulary), Err(Error::Id(9999)));
}

#[test]
fn a_section_cut_anywhere_is_refused() {
    for vocabulary in ALL {
        let section = section(&vocabulary());
        for length in 0..section.len() {
            assert!(Tokenizer::parse(&section[..length]).is_err());
        }
    }
}

/// Whatever stands in a section that parses, calls end, and ids have tokens.
#[test]
fn no_section_makes_a_call_panic() {
    let text = "aaaa bcbc<s><x>é😀 \u{2581}abc\n";
    let mut state = 1_u64;
    let mut below = |limit: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    for vocabulary in ALL {
        let sound = section(&vocabulary());
        for _ in 0..3000 {
            let mut section = sound.clone();
            for _ in 0..1 + below(30) {
                let place = below(section.len());
                section[place] = [0, 1, 0xff, below(256) as u8][below(4)];
            }
            let Ok(tokenizer) = Tokenizer::parse(&section) else {
                continue;
            };
            let mut ids = Vec::new();
            tokenizer.encode(text, SPECIAL, &mut ids);
            assert!(ids.iter().all(|&id| (id as usize) < tokenizer.len()));
            let _ = (
                tokenizer.decode(&ids),
                tokenizer.id_of(text),
                tokenizer.bos(),
            );
        }
    }
}
