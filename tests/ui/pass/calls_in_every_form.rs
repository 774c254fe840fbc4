#![deny(missing_docs, warnings)]
#![allow(clippy::missing_errors_doc, clippy::unnecessary_wraps, clippy::unused_async)]
//! Functions with `#[call]` in every form, and their callers.

/// A room with calls.
#[::room_runtime::room]
pub mod chat {
    use ::room_runtime::data;

    /// The state.
    #[derive(Default)]
    pub struct State {
        /// The name.
        pub name: String,
    }
    /// A peer.
    pub struct Connection {}
    /// An event.
    pub struct Event {}
    /// A message.
    pub struct Broadcast {}

    /// An error of its own.
    #[data]
    pub enum RenameError {
        /// Somebody has the name.
        Taken {
            /// The somebody.
            by: String,
        },
    }

    #[call]
    fn nothing(_: &Ctx) {}

    /// Renames the room.
    #[call]
    pub async fn rename(
        ctx: &Ctx,
        mut name: String,
        r#type: Option<u32>,
    ) -> ::core::result::Result<u64, ::room_runtime::OrFailure<RenameError>> {
        name.push('!');
        if name == "taken!" {
            return Err(RenameError::Taken { by: name }.into());
        }
        ctx.update(|state| state.name = name)?;
        Ok(r#type.map_or(0, Into::into))
    }

    /// Returns the list.
    #[call()]
    pub fn r#match(_ctx: &'_ Ctx, list: Vec<u8>) -> Vec<u8> {
        list
    }

    /// Does nothing.
    #[call(worker)]
    #[deprecated]
    pub fn old(_ctx: &::room_runtime::RoomContext<Room>) -> Result<()> {
        Ok(())
    }

    #[cfg(any())]
    #[call]
    pub fn gone(_ctx: &Ctx, missing: Missing) {}

    #[cfg(not(any(unix, windows)))]
    #[call]
    pub fn there(_ctx: &Ctx) {}

    #[cfg(any(unix, windows))]
    #[call]
    pub(crate) fn here(_ctx: &Ctx) -> Result<(), RenameError> {
        Ok(())
    }
}

/// Calls them.
pub async fn worker(room: ::room_runtime::RoomHandle<chat::Room>) -> Option<chat::RenameError> {
    use chat::Calls;
    room.nothing().await.ok()?;
    let _: u64 = room.rename("x".into(), None).await.ok()?;
    let _: Vec<u8> = room.r#match([1].into()).idempotency_key("k").await.ok()?;
    let here: Result<(), ::room_runtime::CallError<chat::RenameError>> = room.here().await;
    here.err()?.returned()
}

fn main() {}
