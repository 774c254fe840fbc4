//! The Worker's side of a room, natively: the messages of a connection as a stream, and errors that a Worker passes on.

use futures_util::{StreamExt, future::join, stream};
use room_runtime::{Error, RoomSocket, prelude::*, testing::World};

/// A room that repeats words to all.
#[room]
pub mod echo {
    #[derive(Default)]
    pub struct State {}

    pub struct Connection {}

    #[derive(Debug, PartialEq)]
    pub enum Event {
        Say { word: String },
        Deny,
        Refuse { word: String },
    }

    #[derive(Debug, PartialEq)]
    pub enum Broadcast {
        Said { word: String },
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            Event::Say { word } => {
                ctx.broadcast(&Broadcast::Said { word })?;
                Ok(())
            }
            Event::Deny => Err(ctx.refuse("not now")),
            Event::Refuse { word } => {
                Err(ctx.refuse_with(&Broadcast::Said { word }).with_status(http::StatusCode::CONFLICT))
            }
        }
    }
}

use echo::{Broadcast, Connection, Event, Room};

fn say(word: &str) -> Event {
    Event::Say { word: word.to_owned() }
}

fn said(word: &str) -> Broadcast {
    Broadcast::Said { word: word.to_owned() }
}

async fn connect(world: &World, id: &str) -> RoomSocket<Room> {
    world.client::<Room>().room(id).connect(Upgrade::new(Connection {})).await.expect("a socket")
}

#[test]
fn a_socket_is_a_stream_of_messages_that_ends_with_the_connection() {
    let world = World::new();
    world.block_on(async {
        let mut socket = connect(&world, "main").await;
        socket.send(&say("one")).expect("sent");
        socket.send(&say("two")).expect("sent");
        let [first, second] =
            [socket.next().await, socket.next().await].map(|item| item.expect("open").expect("decodes"));
        assert_eq!([first, second], ["one", "two"].map(said));
        assert_eq!(socket.closed(), None);

        socket.send(&say("last")).expect("sent");
        socket.close(CloseCode::NORMAL, "done").expect("closes");
        let rest: Vec<_> = socket.by_ref().map(|item| item.expect("decodes")).collect().await;
        assert_eq!(rest, [said("last")]);
        assert_eq!(socket.closed().map(|close| (close.code, &*close.reason)), Some((1000, "done")));
        assert!(socket.next().await.is_none(), "a stream that has ended stays so");
    });
}

#[test]
fn an_error_frame_is_an_item_and_does_not_end_the_stream() {
    let world = World::new();
    world.block_on(async {
        let mut socket = connect(&world, "main").await;
        socket.send(&Event::Deny).expect("sent");
        socket.send(&say("yes")).expect("sent");
        let denied = socket.next().await.expect("open").expect_err("denied");
        assert_eq!((denied.kind(), denied.message()), (ErrorKind::Refused, "not now"));
        assert_eq!(socket.next().await.expect("open").expect("decodes"), said("yes"));
    });
}

#[test]
fn streams_of_two_rooms_are_one_with_a_combinator() {
    let world = World::new();
    world.block_on(async {
        let (left, right) = join(connect(&world, "left"), connect(&world, "right")).await;
        right.send(&say("right")).expect("sent");
        left.send(&say("left")).expect("sent");
        let words = stream::select(left, right).take(2).map(|item| item.expect("decodes"));
        let mut words: Vec<_> = words.map(|Broadcast::Said { word }| word).collect().await;
        words.sort();
        assert_eq!(words, ["left", "right"]);
    });
}

/// A Worker's helper, in the result that `worker` has its handlers return.
async fn forward(world: &World, event: &Event) -> worker::Result<()> {
    world.client::<Room>().room("main").send(event).await?;
    Ok(())
}

#[test]
fn an_error_that_a_worker_passes_on_keeps_its_kind_status_and_refusal() {
    let world = World::new();
    let refused = Event::Refuse { word: "sold".to_owned() };
    let error = world.block_on(forward(&world, &refused)).expect_err("refused");

    let found = Error::find(&error).expect("the room's error");
    assert_eq!((found.kind(), found.status().as_u16()), (ErrorKind::Refused, 409));
    assert_eq!(format!("{error:?}").matches("Refused").count(), 1, "{error:?}");

    let error = Error::try_from(error).expect("the room's error");
    assert_eq!((error.kind(), error.status().as_u16()), (ErrorKind::Refused, 409));
    assert_eq!(error.room().map(RoomId::as_str), Some("main"));
    assert_eq!(error.refusal::<Broadcast>().expect("decodes"), Some(said("sold")));
}

#[test]
fn an_error_of_the_platform_is_returned_unchanged() {
    let ours = worker::Error::from(Error::new(ErrorKind::Overloaded, "later"));
    // The form that an error of JavaScript has, with a cause.
    let wrapped = |cause| worker::Error::UnknownJsError {
        original: worker::wasm_bindgen::JsValue::UNDEFINED,
        name: Some("Error".to_owned()),
        message: "outer".to_owned(),
        code: Some("E_OUTER".to_owned()),
        cause: Some(Box::new(cause)),
    };
    let error = wrapped(ours);
    assert_eq!(Error::find(&error).map(Error::kind), Some(ErrorKind::Overloaded));
    assert_eq!(Error::try_from(error).expect("ours").kind(), ErrorKind::Overloaded);

    let io = || worker::Error::from(std::io::Error::other("broken"));
    for (error, text) in [
        (worker::Error::RustError("other".to_owned()), "other"),
        (worker::Error::from(std::io::Error::from(std::io::ErrorKind::NotFound)), "I/O error"),
        (io(), "I/O error"),
        (wrapped(io()), "Error [E_OUTER]: outer"),
    ] {
        assert!(Error::find(&error).is_none(), "{text}");
        let same = Error::try_from(error).expect_err("not of a room");
        let broken = std::error::Error::source(&same).is_some();
        assert_eq!((same.to_string().as_str(), broken), (text, text != "other"));
    }
}
