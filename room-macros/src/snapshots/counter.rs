#[allow(clippy::future_not_send)]
/// A counter that all peers share.
pub mod counter {
    #[derive(
        ::room_runtime::__private::serde::Serialize,
        ::room_runtime::__private::serde::Deserialize,
        ::room_runtime::__private::Clone,
        ::room_runtime::__private::Debug,
        ::room_runtime::__private::PartialEq
    )]
    #[allow(clippy::derive_partial_eq_without_eq)]
    #[derive(Default)]
    #[serde(crate = "::room_runtime::__private::serde")]
    pub struct State {
        pub count: i64,
    }
    #[derive(
        ::room_runtime::__private::serde::Serialize,
        ::room_runtime::__private::serde::Deserialize,
        ::room_runtime::__private::Clone,
        ::room_runtime::__private::Debug,
        ::room_runtime::__private::PartialEq
    )]
    #[allow(clippy::derive_partial_eq_without_eq)]
    #[serde(crate = "::room_runtime::__private::serde")]
    pub struct Connection {}
    #[derive(
        ::room_runtime::__private::serde::Serialize,
        ::room_runtime::__private::Clone,
        ::room_runtime::__private::Debug,
        ::room_runtime::__private::PartialEq
    )]
    #[allow(clippy::derive_partial_eq_without_eq)]
    #[serde(crate = "::room_runtime::__private::serde")]
    #[serde(tag = "type")]
    pub enum Event {
        Add { amount: i64 },
    }
    #[derive(
        ::room_runtime::__private::serde::Serialize,
        ::room_runtime::__private::Clone,
        ::room_runtime::__private::Debug,
        ::room_runtime::__private::PartialEq
    )]
    #[allow(clippy::derive_partial_eq_without_eq)]
    #[serde(crate = "::room_runtime::__private::serde")]
    #[serde(tag = "type")]
    pub enum Broadcast {
        Count { count: i64 },
    }
    #[allow(
        clippy::missing_const_for_fn,
        clippy::needless_pass_by_ref_mut,
        clippy::needless_pass_by_value
    )]
    pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        peer.send(
            &Broadcast::Count {
                count: ctx.state()?.count,
            },
        )?;
        Ok(())
    }
    #[allow(
        clippy::missing_const_for_fn,
        clippy::needless_pass_by_ref_mut,
        clippy::needless_pass_by_value
    )]
    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Add { amount } = event;
        let count = ctx
            .update(|state| {
                state.count += amount;
                state.count
            })?;
        ctx.broadcast(&Broadcast::Count { count })?;
        Ok(())
    }
    #[allow(deprecated)]
    const _: () = {
        #[derive(::room_runtime::__private::serde::Deserialize)]
        #[serde(crate = "::room_runtime::__private::serde", remote = "Event")]
        #[allow(dead_code, nonstandard_style)]
        enum __Event {
            Add { amount: i64 },
        }
        ::room_runtime::__tagged!(Event by __Event, "type");
    };
    #[allow(deprecated)]
    const _: () = {
        #[derive(::room_runtime::__private::serde::Deserialize)]
        #[serde(crate = "::room_runtime::__private::serde", remote = "Broadcast")]
        #[allow(dead_code, nonstandard_style)]
        enum __Broadcast {
            Count { count: i64 },
        }
        ::room_runtime::__tagged!(Broadcast by __Broadcast, "type");
    };
    ///The room `counter`, as a type.
    #[allow(clippy::exhaustive_enums)]
    #[derive(
        ::room_runtime::__private::Clone,
        ::room_runtime::__private::Copy,
        ::room_runtime::__private::Debug
    )]
    pub enum Room {}
    /// The room, as its handlers see it.
    #[allow(dead_code)]
    pub type Ctx = ::room_runtime::RoomContext<Room>;
    /// A connected peer.
    #[allow(dead_code)]
    pub type Peer = ::room_runtime::Peer<Room>;
    /// A socket that asks to be let in.
    #[allow(dead_code)]
    pub type UpgradeRequest = ::room_runtime::UpgradeRequest<Room>;
    /// The rooms of this type, as the Worker sees them.
    #[allow(dead_code)]
    pub type RoomClient = ::room_runtime::RoomClient<Room>;
    /// The result of a handler.
    #[allow(dead_code)]
    pub type Result<T = (), E = ::room_runtime::Failure> = ::core::result::Result<T, E>;
    #[automatically_derived]
    #[allow(deprecated)]
    impl ::room_runtime::Room for Room {
        const NAME: &'static str = "counter";
        const BINDING: &'static str = "COUNTER";
        const CLASS: &'static str = "CounterRoom";
        const HAS_ON_UPGRADE: bool = false;
        const HAS_ON_JOIN: bool = false;
        const HAS_ON_AWAY: bool = false;
        const HAS_ON_CLOSE: bool = false;
        const HAS_ON_LEAVE: bool = false;
        const HAS_ON_ALARM: bool = false;
        const HAS_ON_UNDELIVERED: bool = false;
        const HAS_ON_REQUEST: bool = false;
        type State = State;
        type Connection = Connection;
        type Event = Event;
        type Broadcast = Broadcast;
        type Alarm = ();
        type Services = ();
        fn init(
            _: &::room_runtime::RoomContext<Self>,
        ) -> ::room_runtime::__private::Result<Self::State, ::room_runtime::Failure> {
            ::room_runtime::__private::Ok(
                ::room_runtime::__private::InitialState::initial(),
            )
        }
        fn services(
            _: &::room_runtime::__private::worker::Env,
        ) -> ::room_runtime::__private::Result<Self::Services, ::room_runtime::Failure> {
            ::room_runtime::__private::Ok(())
        }
        async fn on_connect(
            __ctx: &::room_runtime::RoomContext<Self>,
            __peer: &::room_runtime::Peer<Self>,
        ) -> ::room_runtime::__private::Result<(), ::room_runtime::Failure> {
            ::room_runtime::__private::Outcome::into_outcome(
                on_connect(
                    ::room_runtime::__private::CtxParameter::pass(__ctx),
                    ::room_runtime::__private::PeerParameter::pass(__peer),
                ),
            )
        }
        async fn on_event(
            __ctx: &::room_runtime::RoomContext<Self>,
            __event: Self::Event,
        ) -> ::room_runtime::__private::Result<(), ::room_runtime::Failure> {
            ::room_runtime::__private::Outcome::into_outcome(
                on_event(
                    ::room_runtime::__private::CtxParameter::pass(__ctx),
                    ::room_runtime::__private::EventParameter::pass(__event),
                ),
            )
        }
    }
    #[allow(missing_docs, tail_expr_drop_order, clippy::same_name_method)]
    mod __room {
        ::room_runtime::__room_shell! {
            #[doc =
            "The Durable Object class of the room `counter`, bound as `COUNTER`."]
            CounterRoom = "CounterRoom", super::Room, start = __room_start_CounterRoom
        }
    }
    #[allow(clippy::pub_use)]
    pub use __room::CounterRoom;
    #[doc(hidden)]
    #[allow(non_local_definitions)]
    #[macro_export]
    macro_rules! two_rooms_have_the_class_CounterRoom {
        () => {};
    }
    #[doc(hidden)]
    #[allow(non_local_definitions)]
    #[macro_export]
    macro_rules! two_rooms_have_the_binding_COUNTER {
        () => {};
    }
}
