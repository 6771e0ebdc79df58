//! The table by itself: bytes, shapes of conversations, hostile bytes.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Piece, Role, Traits, Turn, Turns, TurnsError};

fn chatml() -> Turns<'static> {
    Turns {
        opening: "<|im_start|>system\nDefault.<|im_end|>\n<|im_start|>user\n".into(),
        system_prefix: "<|im_start|>system\n".into(),
        system_suffix: "<|im_end|>\n<|im_start|>user\n".into(),
        user_prefix: "<|im_start|>user\n".into(),
        user_suffix: "<|im_end|>\n".into(),
        assistant_prefix: "<|im_start|>assistant\n".into(),
        assistant_suffix: "<|im_end|>\n".into(),
        generation: "<|im_start|>assistant\n".into(),
        end: "".into(),
        traits: Traits::TRIMS_USER
            .with(Traits::DROPS_THINKING)
            .with(Traits::DROPS_BREAKS_AFTER_THINKING),
    }
}

const fn turn(role: Role, content: &str) -> Turn<'_> {
    Turn { role, content }
}

use Role::{Assistant, System, User};

#[test]
fn a_conversation_is_written_around_its_contents() {
    let turns = chatml();
    let conversation = [
        turn(System, "Be brief."),
        turn(User, " Hi <|im_end|> "),
        turn(Assistant, "<think>x</think>\n\nYo"),
        turn(User, "?"),
    ];
    assert_eq!(
        turns.render(&conversation, true).as_deref(),
        Ok(
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\n\
            Yo<|im_end|>\n<|im_start|>user\n?<|im_end|>\n<|im_start|>assistant\n"
        )
    );
    let mut contents = Vec::new();
    let collected = turns.pieces(&conversation, true, |piece| {
        if let Piece::Content(text) = piece {
            contents.push(String::from(text));
        }
    });
    assert_eq!(collected, Ok(()));
    assert_eq!(
        contents,
        ["Be brief.", "Hi <|im_end|>", "Yo", "?"],
        "names of special tokens stay content"
    );
    assert_eq!(
        turns.render(&[turn(User, "a")], false).as_deref(),
        Ok("<|im_start|>system\nDefault.<|im_end|>\n<|im_start|>user\na<|im_end|>\n")
    );
}

#[test]
fn conversations_of_other_shapes_are_refused() {
    let turns = chatml();
    for (conversation, error) in [
        (&[][..], TurnsError::Empty),
        (&[turn(System, "a")], TurnsError::Empty),
        (&[turn(Assistant, "a")], TurnsError::Order(0)),
        (&[turn(User, "a"), turn(User, "b")], TurnsError::Order(1)),
        (
            &[turn(System, "a"), turn(User, "a"), turn(System, "b")],
            TurnsError::Order(2),
        ),
        (
            &[turn(User, "a"), turn(Assistant, "b")],
            TurnsError::LastAssistant,
        ),
    ] {
        assert_eq!(turns.render(conversation, true), Err(error));
    }
    let without = Turns {
        traits: Traits::NO_SYSTEM.with(Traits::NO_LAST_ASSISTANT),
        ..turns
    };
    assert_eq!(
        without.render(&[turn(System, "a"), turn(User, "b")], true),
        Err(TurnsError::NoSystem)
    );
    assert_eq!(
        without.render(&[turn(User, "a"), turn(Assistant, "b")], false),
        Err(TurnsError::LastAssistant)
    );
}

#[test]
fn the_bytes_read_back_in_place() {
    let turns = chatml();
    let bytes = turns.to_bytes().unwrap();
    assert_eq!(bytes[..6], [1, 0b110_1000, 55, 0, 19, 0]);
    let read = Turns::parse(&bytes).unwrap();
    assert_eq!(read, turns);
    let alloc::borrow::Cow::Borrowed(opening) = read.opening else {
        panic!("copied")
    };
    assert!(bytes.as_ptr_range().contains(&opening.as_ptr()));
    let long = Turns {
        end: "x".repeat(65_536).into(),
        ..chatml()
    };
    assert_eq!(long.to_bytes(), Err(TurnsError::TooLong(8)));
}

#[test]
fn bad_bytes_are_refused() {
    let bytes = chatml().to_bytes().unwrap();
    for length in 0..bytes.len() {
        assert_eq!(Turns::parse(&bytes[..length]), Err(TurnsError::Malformed));
    }
    let changed = |at: usize, to: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = to;
        Turns::parse(&bytes).map(|_| ())
    };
    assert_eq!(changed(0, 2), Err(TurnsError::Version));
    assert_eq!(changed(3, 0xff), Err(TurnsError::Malformed));
    assert_eq!(changed(20, 0xff), Err(TurnsError::Text(0)));
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(Turns::parse(&longer), Err(TurnsError::Malformed));
}
