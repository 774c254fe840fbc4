//! The cases. This list is the contract's table of contents; each name is a promise.

#[macro_use]
mod check;

mod alarms;
mod batching;
mod binary;
mod calls;
mod clients;
mod closing;
mod codecs;
mod connecting;
mod data;
mod delivery;
mod dialogues;
mod durable;
mod errors;
mod federation;
mod firing;
mod functions;
mod invalid;
mod life;
mod limits;
mod lounge;
mod migrations;
mod order;
mod origins;
mod outside;
mod panics;
mod places;
mod planner;
mod purges;
mod rates;
mod reading;
mod refusals;
mod replay;
mod requests;
mod services;
mod sessions;
mod silence;
mod sql;
mod state;
mod stats;
mod steps;
mod topics;
mod transactions;
mod upgrade;
mod users;
mod v1;
mod validation;

use std::{future::Future, pin::Pin};

use anyhow::Result;

use crate::{harness::Platform, memory::Memory, workerd::Workerd};

/// A case on one platform.
#[derive(Debug)]
pub struct Case<H> {
    /// The name of the case: the promise.
    pub name: &'static str,
    /// The source of the promise, and how the case must run.
    pub about: About,
    /// The function of the case; `None` if the case is only for the other platform.
    pub run: Option<Run<H>>,
}

/// A case as a function.
pub type Run<H> = fn(H) -> Pin<Box<dyn Future<Output = Result<()>>>>;

/// The attributes of a case.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// A rule of `docs/rules.md`, or a feature.
    pub promise: Promise,
    /// The reason why it needs an isolate for itself, if it does.
    pub alone: Option<&'static str>,
    /// The only platform that it runs on, and the reason; `None` for both.
    pub only: Option<(Platform, &'static str)>,
    /// True if it starts before others, because it takes longer.
    pub first: bool,
}

/// The source of a promise.
#[derive(Clone, Copy, Debug)]
pub enum Promise {
    /// A rule of `docs/rules.md`, by its number.
    Rule(u8),
    /// A feature; the prefix `DE:` marks one of `docs/parity.md`.
    Feature(&'static str),
}

const fn about(promise: Promise) -> About {
    About { promise, alone: None, only: None, first: false }
}

const fn rule(number: u8) -> About {
    about(Promise::Rule(number))
}

const fn feature(row: &'static str) -> About {
    about(Promise::Feature(row))
}

impl About {
    /// Marks a case that panics, restarts the process, or changes data that all rooms of an isolate share.
    const fn alone(mut self, reason: &'static str) -> Self {
        self.alone = Some(reason);
        self
    }

    const fn first(mut self) -> Self {
        self.first = true;
        self
    }

    const fn only(mut self, platform: Platform, reason: &'static str) -> Self {
        self.only = Some((platform, reason));
        self
    }
}

impl std::fmt::Display for Promise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Promise::Rule(number) => write!(f, "rule {number}"),
            Promise::Feature(row) => f.write_str(row),
        }
    }
}

const PANICS: &str = "a panic takes what all rooms of the isolate have in memory";
const RESTARTS: &str = "it restarts the process";
const SILENCE: &str = "a loaded machine delays heartbeats beyond the short timeout";
const SERVICES: &str = "the services of all rooms of the isolate fail meanwhile";

/// Passes the list of all cases to a macro.
#[macro_export]
macro_rules! all_cases {
    ($with:ident) => {
        $with! {
            connecting {
                on_connect_runs_once_for_each_socket: rule(1);
                on_connect_is_not_run_again_when_the_room_wakes: rule(1);
                changes_of_on_connect_are_visible_to_the_first_frame: rule(1);
                data_changed_by_on_connect_survives_hibernation: rule(1);
                other_peers_are_served_while_on_connect_waits: rule(1);
                a_failing_on_connect_closes_with_1011_and_is_reported: rule(1);
                a_peer_that_on_connect_refused_gets_no_on_close_and_leaves_no_ghost: rule(1);
                a_peer_that_on_connect_closes_itself_gets_its_on_close: rule(1);
            }
            order {
                frames_of_one_peer_are_handled_in_order_though_handlers_wait: rule(2);
                a_frame_that_does_not_decode_keeps_its_place: rule(2);
                handlers_of_different_peers_interleave_where_they_wait: rule(2);
                sockets_of_one_id_do_not_wait_for_each_other: rule(2);
                on_close_runs_after_the_queued_frames: rule(2);
                the_queue_of_a_peer_is_bounded_and_dropped_frames_are_reported: rule(2);
                the_queue_of_a_peer_is_bounded_in_bytes: rule(2);
                the_workers_send_does_not_wait_for_a_peers_handler: rule(2);
                the_workers_sends_do_not_wait_for_each_other: rule(2);
            }
            state {
                state_survives_hibernation: rule(3);
                a_change_is_stored_at_the_end_of_a_handler_that_sends_nothing: rule(3);
                a_change_is_stored_before_a_message_is_sent: rule(3).alone(PANICS);
                a_change_is_stored_before_a_handler_waits: rule(3).alone(PANICS);
                changes_of_a_call_are_stored_when_it_is_answered: rule(3).alone(RESTARTS);
                a_nested_update_is_a_typed_error_and_changes_nothing: rule(3);
                a_snapshot_stays_as_it_was: rule(3);
                a_try_update_that_fails_changes_nothing: rule(3);
                handlers_that_interleave_lose_no_change: rule(3);
                numbers_and_text_of_any_kind_keep_their_value: rule(3);
                a_state_that_is_too_large_is_a_typed_error_and_the_old_one_stays: rule(3);
                a_state_nearly_as_large_as_it_may_be_survives_hibernation: rule(3);
                no_message_is_sent_of_a_state_that_cannot_be_stored: rule(3);
                nothing_is_sent_closed_or_purged_inside_an_update: rule(3);
                a_failed_try_update_has_sent_nothing: rule(3);
                a_change_that_cannot_be_stored_where_a_handler_waits_ends_the_handler: rule(3);
                a_change_that_cannot_be_stored_where_spawned_work_waits_ends_the_work: rule(3);
                init_may_send_and_has_no_state: rule(3);
                floats_keep_their_value_to_the_last_bit: rule(3);
                an_event_as_deep_as_it_may_be_can_be_stored_and_read_again: rule(3);
                a_state_that_would_not_be_read_again_is_a_typed_error_and_the_old_one_stays: rule(3);
                an_alarm_as_deep_as_an_event_may_be_is_read_again: rule(3);
                a_room_is_initialized_when_its_state_is_first_changed: feature("DE: recall, save");
                a_room_that_was_never_changed_stays_uninitialized_over_hibernation: feature("DE: recall, save");
                init_runs_once_in_the_life_of_a_room: feature("DE: recall, save");
                the_first_change_starts_from_the_result_of_init: feature("DE: recall, save");
                a_failing_init_is_an_error_and_is_retried: feature("DE: recall, save");
            }
            data {
                data_tags_id_and_time_of_connecting_survive_hibernation: rule(4);
                the_client_sees_data_and_tags_of_peers_that_sleep: rule(4);
                data_over_the_cap_is_a_typed_error_and_changes_nothing: rule(4);
                data_as_large_as_it_may_be_survives_hibernation: rule(4);
                set_data_replaces_and_update_data_changes: rule(4);
                sockets_of_one_id_have_data_of_their_own: rule(4);
                data_as_deep_as_an_event_may_be_is_read_again: rule(4);
                data_that_would_not_be_read_again_is_a_typed_error_and_changes_nothing: rule(4);
            }
            delivery {
                each_selector_selects: rule(5);
                selectors_intersect: rule(5);
                a_tag_cannot_pass_for_an_id: rule(5);
                a_message_goes_to_the_selected_peers_only: rule(5);
                a_connecting_peer_is_the_sender_in_its_on_connect: rule(5);
                selections_are_the_same_after_hibernation: rule(5);
                except_sender_selects_all_peers_when_the_worker_sends: rule(5);
                peers_that_are_closing_are_skipped: rule(5);
                a_message_that_would_not_decode_is_a_typed_error_and_is_not_sent: rule(5);
                a_socket_that_fails_is_reported_and_affects_no_other: rule(5),
                    only memory: "workerd has no socket that fails to send: it buffers without bound";
            }
            topics {
                a_message_to_a_topic_reaches_its_subscribers_only: feature("topics");
                subscribing_twice_changes_nothing_and_topics_are_sorted: feature("topics");
                a_topic_intersects_with_every_other_selector: feature("topics");
                an_invalid_topic_is_a_typed_error_and_selects_nobody: feature("topics");
                topics_over_the_cap_are_a_typed_error_and_change_nothing: feature("topics");
                data_that_does_not_fit_beside_topics_is_a_typed_error_and_changes_nothing: feature("topics");
                topics_that_do_not_fit_are_a_typed_error_in_on_connect: feature("topics");
                a_topic_is_the_same_after_hibernation: feature("topics");
                a_topic_is_the_same_after_a_panic: feature("topics").alone(PANICS);
                a_peer_that_resumes_keeps_its_topics: feature("topics");
                a_peer_that_resumes_while_its_room_sleeps_keeps_its_topics: feature("topics");
                a_peer_lost_in_a_restart_keeps_its_topics_when_it_resumes: feature("topics").alone(RESTARTS);
                without_a_resume_a_restart_ends_all_subscriptions: feature("topics").alone(RESTARTS);
                topics_that_do_not_fit_beside_new_data_refuse_a_resume_that_can_be_retried: feature("topics");
                a_subscription_ends_before_on_close_which_knows_the_last_topics: feature("topics");
                a_subscription_ends_with_a_replacement_and_with_a_kick: feature("topics");
                a_subscription_ends_with_a_connection_that_has_no_on_close: feature("topics");
                a_purge_ends_all_subscriptions: feature("topics");
                a_peer_may_subscribe_in_on_connect: feature("topics");
                a_failing_on_connect_undoes_its_subscriptions: feature("topics");
                a_panic_in_on_connect_undoes_its_subscriptions: feature("topics").alone(PANICS);
                sockets_of_one_id_have_topics_of_their_own: feature("topics");
                the_client_sees_the_topics_of_each_peer: feature("topics");
            }
            closing {
                a_clients_close_is_answered_with_its_code_and_reason: rule(6);
                a_close_without_a_code_is_1005_and_is_answered: rule(6),
                    only workerd: "a peer of `room_runtime::testing` closes with a code always";
                an_invalid_close_code_still_closes_the_connection: rule(6),
                    only workerd: "a peer of `room_runtime::testing` writes no frames by hand";
                a_lost_connection_is_1006: rule(6);
                a_lost_connection_gives_no_reason: rule(6);
                the_room_closes_with_its_own_code_and_reason: rule(6);
                messages_sent_before_a_close_arrive_before_it: rule(6);
                a_closed_peer_is_gone_from_peers_at_once: rule(6);
                sending_to_a_peer_that_is_closed_is_a_typed_error: rule(6);
                closing_a_selection_returns_the_number_of_peers: rule(6);
                all_peers_may_be_closed_at_once: rule(6);
                a_close_that_cannot_be_sent_is_a_typed_error_and_closes_nothing: rule(6);
                on_close_runs_once_though_both_sides_close: rule(6);
                a_peer_that_closes_while_the_room_sleeps_gets_its_answer_and_its_on_close: rule(6);
                a_connection_that_is_lost_while_the_room_sleeps_gets_its_on_close: rule(6);
                a_peer_that_left_is_no_ghost_after_a_sleep: rule(6);
            }
            invalid {
                text_that_is_no_json_is_an_error_frame: rule(7);
                json_that_is_no_event_is_an_error_frame: rule(7);
                an_unknown_variant_is_an_error_frame_that_names_it: rule(7);
                a_binary_frame_is_an_error_frame: rule(7);
                json_ten_thousand_deep_is_an_error_frame: rule(7);
                events_in_events_are_understood_in_any_order_of_keys: rule(7);
                events_ten_thousand_deep_are_an_error_frame_in_any_order_of_keys: rule(7);
                events_in_events_that_are_long_are_understood_when_their_tags_come_first: rule(7);
                an_error_frame_quotes_a_bounded_part_of_the_frame: rule(7);
                a_frame_that_is_too_large_gets_an_error_frame_and_is_not_decoded: rule(7);
                on_decode_error_may_answer_after_the_error_frame: rule(7);
                a_frame_that_is_no_event_wakes_the_room_and_is_an_error_frame: rule(7);
                a_room_that_ignores_invalid_frames_reports_them_only_to_on_decode_error: rule(7);
                a_room_that_closes_on_invalid_frames_closes_with_1007_or_1009: rule(7);
            }
            errors {
                an_error_in_on_event_is_reported_to_on_error_and_affects_no_other_peer: rule(8);
                an_error_of_the_runtime_keeps_its_kind_in_on_error: rule(8);
                the_sender_of_an_event_that_fails_gets_an_error_frame: rule(8);
                an_error_in_the_workers_send_is_reported_to_on_error_and_to_the_worker: rule(8);
                an_error_in_on_close_is_reported_to_on_error: rule(8);
                an_error_in_on_request_is_reported_to_on_error_and_to_the_worker: rule(8);
                an_error_in_spawned_work_is_reported_to_on_error: rule(8);
                an_error_in_on_decode_error_is_reported_to_on_error: rule(8);
                a_room_whose_on_start_fails_handles_nothing_until_it_succeeds: rule(8);
                an_error_in_on_alarm_is_reported_to_on_error: rule(8);
                an_error_in_on_upgrade_is_reported_to_on_error_only: rule(8);
                an_on_error_that_fails_itself_is_harmless: rule(8);
                on_error_knows_the_sender_and_may_answer: rule(8);
            }
            refusals {
                a_refused_event_is_reported_to_its_sender_and_is_not_an_error: rule(8);
                a_refusal_with_a_message_is_that_message: rule(8);
                a_refusal_inside_a_try_update_rolls_it_back: rule(8);
                a_refusal_of_the_workers_send_is_a_typed_error: rule(8);
                a_refusal_is_the_answer_to_its_idempotency_key: rule(8);
                a_refused_connection_is_closed_with_1008_and_the_reason: rule(8);
                a_refused_resume_is_closed_with_1008_and_runs_on_close: rule(8);
                a_refused_resume_does_not_end_the_connection_that_followed_it: rule(6);
                a_refusal_of_the_workers_connection_keeps_status_and_message: rule(8);
                a_refusal_in_on_upgrade_is_answered_with_403: rule(8);
                a_refusal_in_on_request_is_answered_with_403: rule(8);
                a_refusal_has_the_status_that_it_was_given: rule(8);
                a_refusal_without_a_recipient_is_an_error: rule(8);
                json_bodies_are_exchanged_and_invalid_ones_are_answered_with_400: feature("DE: client");
            }
            panics {
                a_panic_is_reported_to_the_sender_of_each_lost_frame: rule(9).alone(PANICS);
                a_panic_loses_no_connection_no_data_and_no_state: rule(9).alone(PANICS);
                a_panic_after_a_wait_is_like_any_other: rule(9).alone(PANICS);
                a_panic_is_a_typed_error_for_its_call: rule(9).alone(PANICS);
                a_panic_is_a_typed_error_for_every_call_in_flight: rule(9).alone(PANICS);
                a_panic_in_on_request_is_a_typed_error: rule(9).alone(PANICS);
                a_panic_in_on_upgrade_is_a_typed_error_and_admits_no_peer: rule(9).alone(PANICS);
                a_panic_in_on_connect_closes_with_1011_and_leaves_no_ghost: rule(9).alone(PANICS);
                a_panic_at_the_start_of_on_connect_is_like_any_other: rule(9).alone(PANICS);
                a_panic_in_on_close_leaves_no_ghost_and_on_close_runs_once: rule(9).alone(PANICS).first();
                a_close_completes_and_on_close_runs_once_when_a_panic_interrupts_it: rule(9).alone(PANICS);
                a_panic_in_spawned_work_ends_other_running_work_and_nothing_more: rule(9).alone(PANICS);
                a_panic_in_on_start_is_a_typed_error_and_on_start_runs_again: rule(9).alone(PANICS);
                a_room_that_panicked_still_hibernates: rule(9).alone(PANICS).first();
                a_panic_may_be_the_first_event_after_a_sleep: rule(9).alone(PANICS).first();
                a_panic_in_one_room_loses_nothing_of_another: rule(9).alone(PANICS);
                a_call_with_an_idempotency_key_is_repeated_after_a_panic: rule(9).alone(PANICS);
                sockets_lost_with_the_process_are_no_ghosts: rule(6).alone(RESTARTS);
                any_crash_in_a_frame_is_reported_to_its_sender_and_the_next_frame_works: rule(9).alone(PANICS);
                any_crash_in_an_invalid_frame_is_reported_to_its_sender: rule(9).alone(PANICS);
                any_crash_in_a_call_is_a_typed_error: rule(9).alone(PANICS);
                any_crash_in_on_request_is_a_typed_error: rule(9).alone(PANICS);
                any_crash_in_on_upgrade_is_a_typed_error_and_admits_no_peer: rule(9).alone(PANICS);
                any_crash_in_on_connect_closes_with_1011_and_leaves_no_ghost: rule(9).alone(PANICS);
                any_crash_in_on_start_is_a_typed_error_and_on_start_runs_again: rule(9).alone(PANICS);
                on_close_runs_once_after_any_crash_in_it: rule(9).alone(PANICS);
                an_alarm_is_retried_after_any_crash_in_on_alarm: rule(9).alone(PANICS).first();
                any_crash_in_spawned_work_is_reported_to_the_sender_of_each_lost_frame: rule(9).alone(PANICS);
                calls_in_flight_get_typed_errors_after_any_crash: rule(9).alone(PANICS);
                any_crash_of_a_room_loses_nothing_of_another_and_its_next_frame_works: rule(9).alone(PANICS);
                a_room_still_hibernates_after_any_crash: rule(9).alone(PANICS).first();
            }
            alarms {
                alarms_fire_in_order_of_time: rule(10);
                an_alarm_wakes_a_room_that_sleeps: rule(10);
                an_alarm_that_fails_is_retried: rule(10);
                an_alarm_during_which_the_room_panics_is_retried: rule(10).alone(PANICS);
                an_alarm_outlives_the_process_and_knows_its_room: rule(10).alone(RESTARTS);
            }
            codecs {
                a_room_of_messagepack_reads_events_and_sends_messages_in_binary_frames: feature("FZ: MessagePack");
                bytes_integers_keys_and_enums_read_back_in_messagepack: feature("FZ: MessagePack");
                a_text_frame_in_a_room_of_messagepack_is_one_error_frame_in_messagepack: rule(7);
                messagepack_that_is_no_event_is_one_error_frame_in_messagepack: rule(7);
                a_client_chooses_its_codec_by_a_subprotocol: feature("FZ: MessagePack");
                a_broadcast_reaches_peers_of_both_codecs: rule(5);
                a_peer_keeps_its_codec_while_the_room_sleeps: rule(4);
                a_binary_frame_of_a_json_peer_in_a_mixed_room_is_an_error_frame_in_json: rule(7);
                a_refusal_reaches_the_peer_in_its_own_codec: feature("FZ: MessagePack");
                the_worker_broadcasts_to_peers_of_messagepack: feature("FZ: MessagePack");
                the_worker_is_a_peer_of_a_room_of_messagepack: feature("DE: client");
                a_peer_resumes_with_the_token_of_a_packed_frame: feature("FZ: MessagePack");
                a_crash_is_reported_to_its_sender_in_messagepack: rule(9).alone(PANICS);
            }
            binary {
                a_binary_frame_reaches_on_binary_and_its_answer_the_peer: feature("binary");
                bytes_are_sent_to_a_selection_of_peers: feature("binary");
                binary_frames_and_messages_arrive_in_the_order_in_which_they_were_sent: rule(2);
                binary_frames_are_handled_in_order_with_the_events_of_their_peer: rule(2);
                a_binary_frame_over_the_limit_is_an_error_frame: rule(12);
                bytes_that_a_peer_does_not_read_close_its_connection: rule(12);
                a_failure_and_a_refusal_of_on_binary_are_error_frames: rule(8);
                a_peer_that_sends_bytes_wakes_the_room: rule(4);
                the_worker_exchanges_bytes_with_a_room: feature("binary");
                a_crash_in_on_binary_is_reported_to_its_sender: rule(9).alone(PANICS);
            }
            batching {
                messages_of_one_window_leave_in_one_frame_in_order: feature("room.v1");
                a_plain_client_gets_each_message_in_a_frame_of_its_own: feature("room.v1");
                a_message_to_some_keeps_its_place_among_those_to_all: feature("room.v1");
                a_pending_batch_survives_a_panic_in_this_room_and_in_another: feature("room.v1").alone(PANICS);
                a_pending_batch_is_sent_before_its_connection_is_closed: feature("room.v1");
                an_error_is_one_of_the_controls: feature("room.v1");
                in_a_room_without_batches_each_message_has_a_frame_of_its_own: feature("room.v1");
                the_subprotocol_survives_hibernation_and_lets_the_room_sleep: feature("room.v1");
                the_largest_data_still_fits_beside_the_subprotocol: feature("room.v1");
                a_client_that_offers_the_subprotocol_is_answered_with_it: feature("room.v1");
            }
            functions {
                a_peer_gets_the_value_or_the_error_of_the_function: feature("calls");
                an_answer_follows_the_messages_of_its_function: feature("calls");
                a_call_that_fails_is_answered_with_its_number: feature("calls");
                a_plain_client_cannot_call: feature("calls");
                a_call_runs_once_also_after_a_wake: feature("calls");
                a_client_that_resumes_gets_the_answer_that_it_missed: feature("calls");
                a_session_keeps_the_last_of_its_large_answers: feature("calls");
                a_call_that_is_lost_in_a_panic_fails: feature("calls").alone(PANICS);
                calls_and_events_of_a_peer_run_in_order: feature("calls");
                a_client_of_messagepack_calls_in_it: feature("calls");
                another_room_calls_with_the_types_of_the_function: feature("calls");
                a_client_that_offers_room_v1_and_a_room_without_functions: feature("calls");
            }
            clients {
                the_rust_client_has_the_outcome_of_each_event_and_call: feature("room-client");
                the_rust_client_is_handled_once_over_cuts_and_hibernation: feature("room-client");
                the_rust_client_misses_nothing_while_it_is_cut_off: feature("room-client");
                the_rust_client_resumes_after_a_restart: feature("room-client").alone(RESTARTS);
                the_rust_client_learns_of_a_gap: feature("room-client");
                a_refusal_of_the_room_ends_the_rust_client: feature("room-client");
            }
            replay {
                a_client_that_resumes_gets_what_it_missed_in_order_and_once: feature("replay");
                messages_that_were_lost_with_the_connection_are_sent_again: feature("replay");
                a_client_gets_only_what_was_addressed_to_it: feature("replay");
                a_peer_that_a_message_excepted_does_not_get_it_later: feature("replay");
                nobody_gets_what_was_sent_before_it_joined: feature("replay");
                a_log_that_does_not_reach_back_is_a_gap: feature("replay");
                the_log_is_bounded_in_bytes_and_a_message_beyond_it_is_a_gap: feature("replay");
                a_replay_survives_hibernation: feature("replay");
                a_replay_survives_a_restart: feature("replay").alone(RESTARTS);
                a_message_of_on_start_reaches_a_client_that_is_still_away: feature("replay").alone(RESTARTS);
                a_handler_that_holds_a_peer_reaches_it_after_it_has_resumed: feature("replay");
                a_place_that_was_given_up_is_a_gap: feature("replay");
                a_purge_ends_the_log: feature("replay");
                a_message_to_a_peer_that_is_away_waits_for_it: feature("replay");
                the_workers_broadcast_is_replayed: feature("replay");
                a_client_of_messagepack_gets_what_it_missed_in_it: feature("replay");
                a_plain_client_of_a_room_with_a_log_gets_plain_messages: feature("replay");
            }
            sessions {
                the_first_frame_welcomes_the_client: feature("room.v1");
                a_number_is_acknowledged_in_the_frame_of_the_answer: feature("room.v1");
                an_event_without_a_number_is_handled_and_not_acknowledged: feature("room.v1");
                a_number_is_handled_once_also_after_a_wake: feature("room.v1");
                a_number_is_handled_once_also_after_a_restart: feature("room.v1").alone(RESTARTS);
                a_number_that_is_too_high_is_ignored_and_the_missing_one_asked_for_once: feature("room.v1");
                a_frame_that_fails_is_answered_with_its_number_and_settled: feature("room.v1");
                a_frame_of_another_form_is_an_error_without_a_number: feature("room.v1");
                frames_over_the_rate_are_settled_in_their_turn: feature("room.v1");
                a_crash_fails_the_running_frame_and_asks_for_the_waiting_ones: feature("room.v1").alone(PANICS);
                messages_before_a_crash_reach_their_sender: feature("room.v1").alone(PANICS);
                a_session_resumes_as_a_new_peer_with_its_id: feature("room.v1");
                a_session_of_another_id_and_an_unknown_one_are_not_resumed: feature("room.v1");
                a_session_that_resumes_closes_its_old_connection: feature("room.v1");
                a_session_resumes_its_place_within_the_grace: feature("room.v1");
                a_session_of_which_no_number_arrived_resumes: feature("room.v1").alone(RESTARTS);
                a_room_remembers_as_many_sessions_as_it_is_told_for_as_long: feature("room.v1");
                a_purge_ends_the_sessions: feature("room.v1");
                the_token_reaches_no_handler_and_is_not_echoed: feature("room.v1");
                a_session_in_messagepack_has_the_same_frames: feature("room.v1");
                a_crash_is_reported_to_a_session_in_messagepack: feature("room.v1").alone(PANICS);
                a_plain_client_sees_nothing_of_sessions: feature("room.v1");
            }
            outside {
                a_forwarded_request_without_a_ticket_does_nothing: rule(11),
                    only workerd: "there is no outside in memory";
                a_forwarded_request_with_commands_in_it_does_nothing: rule(11),
                    only workerd: "there is no outside in memory";
                an_invalid_ticket_admits_no_peer: rule(11),
                    only workerd: "there is no outside in memory";
                a_forged_ticket_admits_no_peer: rule(11),
                    only workerd: "there is no outside in memory";
                a_ticket_works_once: rule(11),
                    only workerd: "there is no outside in memory";
                a_forwarded_request_does_not_create_an_unused_room: rule(11),
                    only workerd: "there is no outside in memory";
            }
            limits {
                a_full_room_answers_503_until_a_peer_leaves: rule(12);
                a_full_room_does_not_run_on_upgrade: rule(12);
                a_room_that_fills_while_on_upgrade_waits_is_full: rule(12);
                a_peer_that_the_room_closes_frees_its_place_at_once: rule(12);
                a_frame_may_have_as_many_bytes_as_the_limit: rule(12);
                a_frame_over_the_rate_is_dropped_and_reported_until_a_token_is_available: rule(12);
                a_frame_over_the_rate_is_not_decoded: rule(12);
                the_rate_is_counted_for_each_peer_id: rule(12);
                neither_heartbeats_nor_the_workers_events_count_for_the_rate: rule(12);
                a_slow_consumer_is_skipped_and_closed_with_1013: rule(12);
                sending_to_a_slow_consumer_is_a_typed_error: rule(12);
                a_frame_shows_that_a_peer_reads: rule(12);
                a_heartbeat_shows_that_a_peer_reads: rule(12);
                a_silent_peer_without_heartbeats_has_a_limit_that_refills: rule(12);
                a_peer_that_sends_heartbeats_must_keep_sending_them: rule(12);
                a_listener_that_stops_reading_is_cut_off_within_twice_the_limit: rule(12);
                a_room_that_has_slept_has_nothing_unread: rule(12);
                a_heartbeat_is_answered_without_waking_the_room: rule(12);
                only_the_exact_text_is_a_heartbeat: rule(12);
                the_queue_for_on_start_is_bounded: rule(12);
                a_peer_does_not_reset_its_rate_by_reconnecting: rule(12);
                the_workers_events_are_handled_while_a_peer_is_over_its_rate: rule(12);
            }
            rates {
                a_rate_budget_survives_hibernation: rule(12);
                a_rate_budget_survives_a_restart: rule(12).alone(RESTARTS);
                a_rate_budget_survives_a_panic: rule(12).alone(PANICS);
                the_peers_of_one_address_share_a_rate: rule(12);
                the_addresses_of_one_ipv6_network_share_a_rate: rule(12);
                another_peer_id_does_not_reset_the_rate_of_an_address: rule(12);
                the_address_of_a_peer_survives_hibernation: rule(12);
                without_an_address_the_rate_is_counted_for_each_peer_id: rule(12);
                an_address_is_not_a_peer_id: rule(12);
                a_flood_affects_no_other_peer_and_is_not_answered_without_end: rule(12);
                an_event_takes_its_cost: rule(12);
                an_event_over_the_rate_spends_the_token_of_its_decoding: rule(12);
                an_event_without_cost_gives_its_token_back: rule(12);
                an_event_that_costs_more_than_the_burst_is_never_handled: rule(12);
                a_frame_that_is_no_event_costs_one_token: rule(12);
                the_workers_events_have_no_cost: rule(12);
            }
            origins {
                a_page_of_another_origin_is_refused_before_the_room_is_called: rule(12);
                a_page_of_an_allowed_origin_connects: rule(12);
                a_client_without_an_origin_connects: rule(12);
                a_room_without_the_option_accepts_every_origin: rule(12);
            }
            upgrade {
                a_refusal_of_on_upgrade_is_the_answer_unchanged: feature("WK: authenticate");
                a_refusal_keeps_its_cors_headers_its_cookies_and_its_content_type: feature("WK: authenticate");
                on_upgrade_refuses_with_300_to_599_and_with_nothing_else: feature("WK: authenticate");
                on_upgrade_changes_data_id_and_tags: feature("upgrade");
                on_upgrade_sees_the_request_and_nothing_of_the_runtimes_own: feature("upgrade");
                a_ticket_in_the_clients_own_request_counts_for_nothing: feature("upgrade");
                values_of_on_upgrade_beyond_the_limits_are_a_typed_error: feature("upgrade");
                ids_tags_and_data_over_the_limits_are_typed_errors: feature("DE: upgrade, id, tags");
                ids_and_tags_may_be_as_long_as_the_limits: feature("DE: upgrade, id, tags");
                the_same_tag_twice_counts_once: feature("DE: upgrade, id, tags");
                without_an_id_a_peer_gets_a_uuid_version_7: feature("WK: peer metadata");
                meta_is_readable_in_on_upgrade_and_on_connect_and_nowhere_else: feature("DE: upgrade, meta");
                without_a_meta_there_is_none: feature("DE: upgrade, meta");
                peers_may_share_an_id: feature("DE: onDuplicate");
                replacing_closes_the_old_with_1012_after_the_on_connect_of_the_new: feature("DE: onDuplicate");
                a_failing_on_connect_of_the_new_leaves_the_old: feature("DE: onDuplicate");
                replacing_works_for_peers_that_sleep: feature("DE: onDuplicate");
                a_rejected_duplicate_is_answered_409_until_the_other_has_left: feature("DE: onDuplicate");
                a_duplicate_that_connects_while_on_upgrade_waits_is_detected: feature("DE: onDuplicate");
                on_upgrade_decides_over_duplicates: feature("DE: onDuplicate");
                a_request_that_is_not_an_upgrade_is_answered_426: feature("BC: 426"),
                    only workerd: "in memory every upgrade is one";
                an_invalid_handshake_is_refused_before_it_reaches_the_room: feature("BC: 426"),
                    only workerd: "in memory every upgrade is one";
                the_worker_may_add_headers_to_the_answer_of_the_room: feature("BC: upgrade"),
                    only workerd: "in memory there is no response of the platform";
                the_handshake_is_answered_with_the_subprotocol_that_was_chosen: feature("subprotocols");
                a_client_that_is_answered_with_another_subprotocol_is_a_plain_one: feature("subprotocols");
                a_client_is_refused_with_400_if_none_of_its_subprotocols_is_chosen: feature("subprotocols");
                a_subprotocol_that_was_not_offered_is_a_typed_error: feature("subprotocols");
                a_bearer_token_is_read_from_the_header_or_from_the_subprotocols: feature("subprotocols");
                a_peer_that_on_connect_closes_sees_the_code_of_the_application: rule(6);
            }
            calls {
                an_event_of_the_worker_has_no_sender: feature("DE: client");
                a_call_ends_when_its_handler_ends: feature("DE: client");
                an_error_keeps_its_kind_its_text_and_its_room: feature("DE: error taxonomy");
                the_client_lists_peers_with_id_tags_data_and_time: feature("DE: client");
                a_broadcast_reaches_everyone_and_says_how_many: feature("DE: client");
                a_broadcast_wakes_the_room_and_reaches_everyone_once: feature("DE: client");
                rooms_of_one_id_and_two_types_share_nothing: feature("DE: client");
                an_invalid_room_id_is_a_typed_error: feature("DE: error taxonomy");
                a_room_id_may_be_as_long_as_the_limit: feature("DE: error taxonomy");
                the_same_call_with_the_same_key_runs_once: feature("PS: idempotency key");
                the_same_call_with_the_same_key_at_the_same_time_runs_once: feature("PS: idempotency key");
                an_idempotency_key_of_another_call_is_a_conflict: feature("PS: idempotency key");
                an_idempotency_key_of_another_running_call_is_a_conflict: feature("PS: idempotency key");
                idempotency_keys_survive_hibernation: feature("PS: idempotency key");
                a_failed_answer_is_stored_as_well: feature("PS: idempotency key");
                a_broadcast_with_a_key_is_sent_once: feature("PS: idempotency key");
                a_key_that_is_empty_or_too_long_is_a_typed_error: feature("PS: idempotency key");
                a_room_remembers_the_last_1024_keys: feature("PS: idempotency key");
                a_room_within_a_jurisdiction_is_another_room: feature("PS: location"),
                    only memory: "workerd has no jurisdictions";
                a_location_hint_leads_to_the_same_room: feature("PS: location");
            }
            federation {
                a_federated_call_reaches_each_room_and_the_results_have_the_order_of_the_ids: feature("WK: federate");
                a_room_that_fails_affects_no_other_room_of_a_federation: feature("WK: federate");
                a_federation_calls_a_room_once_though_its_id_occurs_twice: feature("WK: federate");
                a_federation_with_a_filter_calls_the_rooms_that_satisfy_it: feature("WK: federate");
                a_federation_calls_six_rooms_at_a_time: feature("WK: federate");
                a_federation_calls_as_many_rooms_at_a_time_as_it_is_told: feature("WK: federate");
                a_bound_of_no_rooms_is_a_typed_error_and_calls_no_room: feature("WK: federate");
                a_federation_of_no_rooms_has_no_results: feature("WK: federate");
                a_room_may_federate_a_call_of_other_rooms: feature("WK: federate");
                a_key_belongs_to_the_same_shard_always: feature("WK: sharding");
                a_message_to_all_shards_reaches_each_once: feature("WK: sharding");
                a_number_of_shards_that_is_out_of_range_is_a_typed_error: feature("WK: sharding");
            }
            dialogues {
                the_worker_can_be_a_peer: feature("FZ: connect()");
                the_worker_may_resume_with_its_token_which_is_not_a_message: feature("FZ: connect()");
                a_test_peer_gets_messages_errors_and_its_token_separately: feature("testing"),
                    only memory: "a test peer is in memory";
                the_worker_gets_an_error_for_an_event_that_the_room_rejects: feature("FZ: connect()");
                the_worker_gets_the_close_code_and_reason_of_the_room: feature("FZ: connect()");
                the_worker_gets_1011_when_on_connect_fails: feature("FZ: connect()");
                a_refused_connection_is_a_typed_error: feature("FZ: connect()");
                a_close_of_the_worker_that_cannot_be_sent_is_a_typed_error: feature("FZ: connect()");
                on_upgrade_sees_connections_of_the_worker: feature("FZ: connect()");
            }
            requests {
                a_request_and_its_answer_arrive_whole: feature("FZ: on_request");
                any_method_and_any_status_is_accepted: feature("FZ: on_request");
                an_answer_without_a_body_is_accepted: feature("FZ: on_request");
                an_answer_that_the_platform_cannot_send_is_a_typed_error: feature("FZ: on_request");
                without_on_request_the_answer_is_404: feature("FZ: on_request");
                on_request_changes_the_room_and_sends_to_its_peers: feature("FZ: on_request");
                a_request_wakes_the_room: feature("FZ: on_request");
            }
            services {
                services_are_made_once_each_time_the_room_comes_into_memory: feature("DE: services");
                a_class_without_sqlite_is_a_typed_error_that_says_how_to_declare_it: rule(3),
                    only workerd: "in memory there is no other storage";
                without_its_services_a_room_refuses_everything_and_recovers: feature("DE: services").alone(SERVICES).first();
            }
            lounge {
                peers_lost_in_a_restart_are_closed_once_with_their_data_and_tags: rule(6).alone(RESTARTS);
                a_lost_connection_is_not_reported_as_lost_with_the_process: rule(6);
                a_peer_that_left_before_a_restart_is_not_closed_again: rule(6).alone(RESTARTS);
                no_peer_is_closed_when_a_room_only_hibernates: rule(6);
                a_peer_that_closed_before_a_crash_gets_its_on_close_at_the_next_wake: rule(6).alone(PANICS);
                peers_that_a_crashing_handler_has_closed_have_one_on_close_each: rule(6).alone(PANICS);
                presence_groups_connections_by_id: feature("PS: presence");
                presence_is_the_same_after_hibernation: feature("PS: presence");
                users_lost_in_a_restart_are_away_and_then_gone: feature("PS: presence").alone(RESTARTS);
                a_peer_that_resumes_within_the_grace_continues: feature("PS: reconnect grace");
                a_peer_may_resume_any_number_of_times: feature("PS: reconnect grace");
                a_resumed_peer_gets_the_data_of_its_new_upgrade_on_request: feature("PS: reconnect grace").alone(RESTARTS);
                data_that_is_too_large_refuses_a_resume_that_can_be_retried: feature("PS: reconnect grace");
                on_upgrade_can_make_a_new_peer_of_one_that_would_resume: feature("PS: reconnect grace");
                a_peer_lost_in_a_restart_can_resume: feature("PS: reconnect grace").alone(RESTARTS);
                a_peer_that_does_not_resume_is_closed_once_after_the_grace: feature("PS: reconnect grace");
                a_wrong_token_makes_a_new_peer: feature("PS: reconnect grace");
                a_token_is_invalid_for_another_id: feature("PS: reconnect grace");
                a_token_is_invalid_after_the_grace: feature("PS: reconnect grace");
                a_client_that_closes_with_1000_cannot_resume: feature("PS: reconnect grace");
                a_client_that_closes_with_1001_can_resume: feature("PS: reconnect grace");
                a_peer_that_the_room_closes_cannot_resume: feature("PS: reconnect grace");
                a_resume_before_the_loss_is_noticed_closes_the_old_socket_with_1012: feature("PS: reconnect grace");
                a_failing_on_resume_is_reported_and_changes_nothing: feature("PS: reconnect grace");
                a_room_without_a_grace_sends_no_token: feature("PS: reconnect grace");
                a_room_that_all_peers_have_left_is_purged: feature("DE: purge");
                a_kept_place_ends_although_other_peers_connect: feature("DE: purge");
                each_visit_restarts_the_time_until_the_purge: feature("DE: purge"), only memory: "on a busy machine the real time would run out";
                a_room_that_is_joined_again_is_not_purged: feature("DE: purge");
                a_room_with_a_peer_hibernates_and_is_not_purged: feature("DE: purge");
                a_room_that_a_restart_has_emptied_is_purged: feature("DE: purge").alone(RESTARTS);
                a_room_is_purged_although_its_last_on_close_panics: feature("DE: purge").alone(PANICS);
                a_room_with_a_kept_place_is_not_purged: feature("DE: purge");
                a_state_of_this_version_is_not_migrated: feature("DE: recall, save");
                a_state_of_an_older_version_is_migrated_once: feature("DE: recall, save"), only memory: "workerd has nothing that older code has stored";
                a_migrated_state_is_stored_when_a_handler_has_read_it: feature("DE: recall, save"), only memory: "workerd has nothing that older code has stored";
                a_failing_migrate_is_a_typed_error_and_the_stored_state_stays: feature("DE: recall, save"), only memory: "workerd has nothing that older code has stored";
            }
            places {
                a_replaced_peer_whose_connection_ends_after_a_sleep_has_one_on_close: rule(6);
                a_replaced_peer_whose_connection_ends_after_a_crash_has_one_on_close: rule(6).alone(PANICS);
                a_replaced_peer_whose_handler_waited_has_one_on_close_after_a_crash: rule(6).alone(PANICS);
                a_resumed_peer_keeps_its_place_when_its_old_connection_ends_after_a_sleep: rule(6);
                a_resumed_peer_keeps_its_place_when_on_resume_panics: rule(6).alone(PANICS);
                a_kicked_peer_that_does_not_answer_cannot_resume: rule(6);
                a_kicked_peer_that_does_not_answer_is_gone_after_a_sleep: rule(6);
                a_kicked_peer_that_is_lost_while_the_room_sleeps_keeps_no_place: rule(6);
                a_purged_connection_that_ends_after_a_sleep_has_no_effect: rule(6);
                a_peer_whose_loss_is_noticed_while_its_handler_runs_can_resume: feature("PS: reconnect grace");
                frames_queued_on_the_old_connection_are_handled_before_on_resume: rule(2);
                frames_queued_before_a_kick_are_dropped: rule(2);
                the_resume_token_is_the_first_frame_of_a_connection: feature("PS: reconnect grace");
                on_away_runs_when_a_connection_is_lost_and_not_when_it_is_closed: feature("PS: reconnect grace");
                an_on_away_that_fails_is_reported_and_the_peer_can_resume: feature("PS: reconnect grace");
                a_peer_that_resumes_after_a_sleep_while_on_away_waits_is_served: feature("PS: reconnect grace");
                a_resume_with_replace_closes_the_other_connections_of_its_id: feature("DE: onDuplicate");
                a_kept_place_counts_as_taken_and_its_peer_can_resume: rule(12);
                a_peer_whose_old_connection_is_half_dead_resumes_into_a_full_room: rule(12);
                a_kept_place_is_free_after_the_grace: rule(12);
                a_replacing_peer_without_a_token_ends_the_kept_place_at_once: feature("DE: onDuplicate");
                a_restart_is_noticed_without_a_request: rule(6).alone(RESTARTS);
                a_restart_after_a_sleep_is_noticed_without_a_request: rule(6).alone(RESTARTS);
                a_kept_place_ends_after_a_restart_without_a_request: rule(6).alone(RESTARTS);
                a_room_is_purged_after_a_restart_without_a_request: feature("DE: purge").alone(RESTARTS);
                a_room_without_on_close_is_purged_when_all_peers_have_left: feature("DE: purge");
                a_room_that_was_never_joined_is_not_purged: feature("DE: purge");
                a_room_whose_last_peer_was_lost_in_a_panic_is_purged: feature("DE: purge").alone(PANICS);
                a_room_is_purged_although_a_kicked_peer_never_answers: feature("DE: purge");
                a_resume_that_cannot_be_stored_leaves_the_place_to_the_old_connection: rule(6), only memory: "workerd has no storage that fails";
                a_resume_that_cannot_be_stored_can_be_retried: rule(6), only memory: "workerd has no storage that fails";
                a_room_whose_storage_fails_admits_a_peer_completely_or_not_at_all: rule(6), only memory: "workerd has no storage that fails";
            }
            silence {
                a_silent_peer_is_closed_with_3008_and_leaves_as_a_lost_one: rule(6).alone(SILENCE);
                a_peer_that_sends_frames_needs_no_heartbeats: rule(6).alone(SILENCE);
                a_silent_peer_that_never_answers_has_one_on_close: rule(6).alone(SILENCE);
                a_silent_peer_keeps_its_place_for_the_grace: feature("PS: reconnect grace").alone(SILENCE);
                a_silent_peer_frees_its_place_in_a_full_room: rule(12).alone(SILENCE);
                a_silent_peer_is_no_duplicate_after_its_timeout: feature("DE: onDuplicate").alone(SILENCE);
                signs_of_life_survive_hibernation: rule(6).alone(SILENCE);
                a_silent_peer_is_found_after_a_crash: rule(6).alone(PANICS);
                a_restart_ends_peers_with_a_timeout_once: rule(6).alone(RESTARTS);
                a_worker_that_listens_stays_by_its_heartbeats: feature("FZ: connect()").alone(SILENCE);
                the_answer_to_a_heartbeat_of_the_worker_is_not_a_message: feature("FZ: connect()").alone(SILENCE);
            }
            users {
                a_user_joins_with_its_first_connection_and_leaves_after_its_last: feature("PS: presence by user");
                no_user_joins_or_leaves_when_a_room_hibernates: feature("PS: presence by user");
                on_join_ends_before_the_first_frame_of_the_user: feature("PS: presence by user");
                two_connections_at_the_same_instant_join_once: feature("PS: presence by user");
                a_user_whose_on_connect_fails_neither_joins_nor_leaves: feature("PS: presence by user");
                a_user_that_on_connect_closes_neither_joins_nor_leaves: feature("PS: presence by user");
                a_replaced_connection_neither_joins_nor_leaves: feature("PS: presence by user");
                a_kicked_user_leaves_after_the_on_close_of_its_last_connection: feature("PS: presence by user");
                a_purge_ends_the_visits_of_users_without_on_leave: feature("PS: presence by user");
                a_user_that_is_away_has_not_left: feature("PS: presence by user");
                a_user_leaves_when_its_grace_ends: feature("PS: presence by user");
                a_user_whose_kept_place_is_replaced_neither_joins_nor_leaves: feature("PS: presence by user");
                users_lost_in_a_restart_leave_after_the_on_close_of_their_last_place: feature("PS: presence by user").alone(RESTARTS);
                a_user_lost_in_a_restart_that_resumes_has_not_left: feature("PS: presence by user").alone(RESTARTS);
                a_room_without_on_close_notices_a_lost_user_without_a_request: feature("PS: presence by user").alone(RESTARTS);
                a_panic_in_on_close_does_not_lose_on_leave: feature("PS: presence by user").alone(PANICS);
                a_panic_in_on_join_or_on_leave_does_not_run_it_again: feature("PS: presence by user").alone(PANICS);
                a_user_that_is_back_before_on_close_has_ended_neither_joins_nor_leaves: feature("PS: presence by user");
                a_user_does_not_leave_while_on_connect_of_its_next_connection_waits: feature("PS: presence by user");
                a_user_that_comes_back_while_on_leave_runs_joins_after_its_end: feature("PS: presence by user");
                errors_of_on_join_and_on_leave_are_reported_and_change_nothing: feature("PS: presence by user");
                a_user_whose_connection_cannot_be_stored_neither_joins_nor_leaves: feature("PS: presence by user"), only memory: "workerd has no storage that fails";
            }
            life {
                on_start_runs_first_and_once_for_each_start: feature("on_start");
                events_that_arrive_during_on_start_are_handled_after_it: feature("on_start");
                frames_that_wake_a_room_are_handled_after_on_start_in_order: feature("on_start");
                a_close_that_wakes_a_room_is_handled_after_on_start: feature("on_start");
                spawned_work_outlives_its_handler_and_stores_its_changes: feature("the context");
                the_last_change_of_spawned_work_is_stored: feature("the context");
                a_call_does_not_wait_for_what_it_spawned: feature("the context");
                sleep_waits_at_least_that_long: feature("the context");
                the_time_of_connecting_is_of_the_rooms_own_clock: feature("the context");
                every_handler_knows_its_room: feature("PS: name");
                init_knows_its_room: feature("PS: name");
                a_room_knows_its_id_after_hibernation: feature("PS: name");
            }
            firing {
                a_slow_alarm_delays_no_other: rule(10);
                an_alarm_that_takes_longer_than_its_retry_runs_once: rule(10);
                an_alarm_may_fire_another_of_its_own_room: rule(10);
                an_alarm_may_call_fire_alarm_when_no_other_is_scheduled: rule(10);
                an_alarm_that_schedules_itself_for_the_past_starves_no_other: rule(10);
                a_retry_counts_from_the_end_of_the_failed_attempt: rule(10);
                a_period_without_a_key_set_at_each_start_is_one: rule(10);
                an_alarm_whose_change_cannot_be_stored_where_it_waits_is_retried: rule(3);
                nothing_can_be_scheduled_inside_an_update: rule(3);
                an_alarm_that_hangs_is_ended_and_retried: rule(10), only memory: "only virtual time has 15 minutes to spare";
                alarms_fire_however_long_the_room_could_not_start: rule(10), only memory: "only virtual time has an hour to spare";
                an_overdue_alarm_fires_when_the_room_next_starts: rule(10), only memory: "workerd loses no alarm on demand";
                an_alarm_whose_end_cannot_be_stored_is_no_system_failure: rule(10), only memory: "workerd has no storage that fails";
            }
            purges {
                a_purge_in_on_upgrade_is_answered_with_410: feature("DE: purge");
                a_purge_in_on_error_ends_the_room: feature("DE: purge");
                a_purge_in_init_is_no_error_for_the_caller: feature("DE: purge");
                a_purge_in_on_start_refuses_pending_events_and_on_start_runs_again: feature("DE: purge");
                after_a_purge_in_the_on_close_of_a_lost_peer_on_start_runs_again: feature("DE: purge").alone(RESTARTS);
                work_that_is_spawned_after_a_purge_does_not_run: feature("DE: purge");
                a_purge_erases_the_idempotency_key_of_its_call: feature("DE: purge");
            }
            planner {
                an_alarm_carries_its_data_to_its_handler: feature("DE: schedules");
                alarms_set_in_any_order_fire_in_order_of_time_and_never_early: feature("DE: schedules");
                alarms_due_at_the_same_time_fire_in_the_order_they_were_set: feature("DE: schedules");
                an_alarm_for_a_time_that_has_passed_fires_at_once: feature("DE: schedules");
                a_schedule_with_a_key_replaces_the_earlier_one: feature("DE: schedules");
                a_period_keeps_its_grid: feature("DE: schedules");
                periods_that_pass_while_the_alarm_runs_are_skipped: feature("DE: schedules");
                a_period_survives_hibernation: feature("DE: schedules");
                a_period_set_again_unchanged_keeps_its_time: feature("DE: schedules");
                a_period_of_nothing_is_a_typed_error: feature("DE: schedules");
                a_schedule_is_cancelled_by_its_id_once: feature("DE: schedules");
                a_schedule_is_cancelled_by_its_key_once: feature("DE: schedules");
                a_period_may_cancel_itself_in_its_handler: feature("DE: schedules");
                an_alarm_may_set_the_next_under_its_own_key: feature("DE: schedules");
                the_id_of_a_schedule_survives_storage_as_text: feature("DE: schedules");
                next_alarm_is_the_earliest_of_all: feature("DE: schedules");
                fire_alarm_runs_the_earliest_now_and_consumes_it: feature("DE: schedules");
                a_period_fired_by_hand_skips_to_its_next_time: feature("DE: schedules");
                a_fire_alarm_that_fails_is_a_typed_error_and_is_retried: feature("DE: schedules");
                a_plain_failure_is_no_system_failure: feature("DE: systemFailure");
                a_panic_in_an_alarm_is_reported_to_the_next_attempt_only: feature("DE: systemFailure").alone(PANICS);
                every_crash_in_an_alarm_counts: feature("DE: systemFailure").alone(PANICS);
                alarms_fire_while_the_room_sleeps: feature("DE: schedules");
                alarms_fire_after_the_process_restarted: feature("DE: schedules").alone(RESTARTS);
                a_thousand_schedules_over_days_of_crashes_all_fire_and_none_early: feature("DE: schedules"), only memory: "only virtual time has three days to spare";
                a_room_sends_to_a_room_of_another_type: feature("DE: sibling dispatch");
                a_room_reads_the_state_of_another: feature("DE: sibling dispatch");
                a_room_broadcasts_to_the_peers_of_another: feature("DE: sibling dispatch");
                an_error_of_another_room_keeps_its_kind_and_its_text: feature("DE: sibling dispatch");
                an_error_that_a_room_passes_on_names_the_room_it_happened_in: feature("DE: sibling dispatch");
                a_missing_binding_of_another_room_is_a_typed_error_with_what_to_add: feature("DE: sibling dispatch"), only workerd: "in memory every class exists";
                an_alarm_on_a_cold_object_calls_another_room: feature("DE: sibling dispatch");
                rooms_may_call_each_other_while_they_wait: feature("DE: sibling dispatch");
                the_call_that_purges_succeeds_and_leaves_no_state: feature("DE: purge");
                a_purge_erases_the_alarms: feature("DE: purge");
                a_purge_closes_every_peer_with_1000_and_runs_no_on_close: feature("DE: purge");
                a_peer_may_purge_the_room_it_is_in: feature("DE: purge");
                an_alarm_may_purge_the_room: feature("DE: purge");
                a_purge_erases_the_tables_and_on_start_creates_them_again: feature("DE: purge");
                a_handler_in_flight_ends_with_purged_and_changes_nothing_after: feature("DE: purge");
                spawned_work_ends_with_the_room_that_spawned_it: feature("DE: purge");
                work_that_the_purging_handler_spawned_changes_nothing_after: feature("DE: purge");
                a_purge_in_on_request_is_no_error_for_the_caller: feature("DE: purge");
                a_room_works_after_it_was_purged: feature("DE: purge");
            }
            stats {
                the_stats_count_peers_frames_and_bytes: feature("stats");
                the_stats_count_what_was_refused_by_its_kind_and_what_failed: feature("stats");
                the_stats_count_waiting_frames_and_refused_upgrades: feature("stats");
                the_stats_count_kept_places_schedules_and_stored_bytes: feature("stats");
                the_counters_of_the_stats_begin_anew_after_hibernation: feature("stats");
            }
            durable {
                durable_calls_arrive_in_order_and_once: feature("durable calls");
                a_durable_call_does_not_delay_its_handler: feature("durable calls");
                a_durable_call_is_delivered_also_if_its_handler_fails: feature("durable calls");
                a_durable_call_survives_a_panic_right_after_it: feature("durable calls").alone(PANICS);
                a_durable_call_survives_a_restart_while_it_runs: feature("durable calls").alone(RESTARTS);
                a_durable_call_during_which_the_target_panics_is_repeated: feature("durable calls").alone(PANICS);
                a_durable_call_whose_handler_fails_is_repeated_before_the_next: feature("durable calls");
                a_refused_durable_call_is_undelivered_at_once_and_the_next_follows: feature("durable calls");
                a_durable_call_that_keeps_failing_is_undelivered_after_the_timeout: feature("durable calls");
                durable_calls_of_a_transaction_arrive_unless_it_fails: feature("durable calls");
                a_purge_of_the_target_loses_and_blocks_no_durable_call: feature("durable calls");
                a_purge_of_the_room_forgets_its_durable_calls_and_later_ones_arrive: feature("durable calls");
                a_room_calls_itself_and_others_durably_in_a_circle: feature("durable calls");
                a_durable_call_over_the_limits_is_a_typed_error: feature("durable calls");
                a_room_with_waiting_durable_calls_sleeps: feature("durable calls"), only memory: "workerd has no calls that fail on demand";
            }
            sql {
                rows_are_structs_tuples_and_values: feature("SQL");
                parameters_are_bound_as_they_are: feature("SQL");
                several_statements_run_in_order_and_the_last_takes_the_parameters: feature("SQL");
                a_statement_that_the_database_rejects_is_a_typed_error: feature("SQL");
                rows_of_another_type_are_a_typed_error: feature("SQL");
                integers_are_bound_as_integers: feature("SQL");
                parameters_are_found_wherever_they_are: feature("SQL");
                large_integers_are_exact_in_both_directions: feature("SQL");
                a_large_number_that_cannot_be_read_exactly_is_a_typed_error: feature("SQL");
                reals_are_read_as_they_are_and_whole_ones_as_integers: feature("SQL");
                texts_and_blobs_read_back_as_they_were_bound: feature("SQL");
                the_extremes_of_integers_blobs_and_texts_are_stored_exactly: feature("SQL");
                large_types_are_parameters_as_far_as_their_values_fit: feature("SQL");
                a_text_may_end_in_comments_and_empty_statements: feature("SQL");
                several_statements_are_atomic: feature("SQL");
                the_number_of_parameters_is_checked: feature("SQL");
                transactions_are_refused_and_lose_nothing: feature("SQL");
                statements_that_cloudflare_forbids_are_refused_everywhere: feature("SQL");
                tables_survive_hibernation: feature("SQL");
                tables_survive_the_process: feature("SQL").alone(RESTARTS);
            }
            transactions {
                a_transaction_keeps_statements_and_state_together: feature("SQL: transactions");
                a_transaction_that_fails_rolls_statements_and_state_back: feature("SQL: transactions");
                a_change_before_a_transaction_that_fails_stays: feature("SQL: transactions");
                a_room_stays_uninitialized_if_the_transaction_of_its_first_change_fails: feature("SQL: transactions");
                a_failed_statement_that_the_closure_handles_leaves_the_others: feature("SQL: transactions");
                an_inner_transaction_that_fails_leaves_the_outer_one: feature("SQL: transactions");
                alarms_of_a_transaction_that_fails_are_neither_set_nor_cancelled: feature("SQL: transactions");
                the_first_alarm_of_a_room_is_not_set_by_a_transaction_that_fails: feature("SQL: transactions");
                an_alarm_of_a_transaction_fires: feature("SQL: transactions");
                what_a_rollback_cannot_undo_is_a_typed_error_in_a_transaction: feature("SQL: transactions");
                a_transaction_inside_an_update_is_a_typed_error: feature("SQL: transactions");
                a_state_that_cannot_be_stored_rolls_its_transaction_back: feature("SQL: transactions");
                work_that_a_transaction_spawned_runs_also_after_a_rollback: feature("SQL: transactions");
                a_crash_in_a_transaction_stores_nothing_of_it: feature("SQL: transactions").alone(PANICS);
            }
            migrations {
                each_migration_runs_once_and_in_order: feature("SQL: migrations").alone(RESTARTS);
                a_migration_that_fails_is_rolled_back_and_the_earlier_ones_stay: feature("SQL: migrations");
                a_migration_that_is_missing_or_changed_is_a_typed_error_that_names_it: feature("SQL: migrations");
                a_purge_forgets_the_migrations: feature("SQL: migrations");
                migrations_of_a_transaction_that_fails_run_again: feature("SQL: migrations");
            }
            reading {
                each_row_reaches_the_closure_in_order: feature("SQL: rows one by one");
                a_hundred_thousand_rows_take_the_memory_of_a_batch: feature("SQL: rows one by one");
                rows_that_are_large_share_no_batch: feature("SQL: rows one by one");
                the_closure_ends_the_reading_with_a_break_or_an_error: feature("SQL: rows one by one");
                large_numbers_are_exact_wherever_they_are: feature("SQL: rows one by one");
                an_error_in_a_later_row_follows_the_rows_before_it: feature("SQL: rows one by one");
                inside_for_each_the_database_is_a_typed_error_and_the_rest_works: feature("SQL: rows one by one");
                for_each_takes_one_statement_without_returning: feature("SQL: rows one by one");
            }
            validation {
                an_event_that_breaks_a_rule_is_an_error_frame_with_the_path_of_the_field: rule(7);
                an_event_in_messagepack_that_breaks_a_rule_is_an_error_frame_in_messagepack: rule(7);
                many_broken_rules_are_counted_and_some_are_shown: rule(7);
                size_and_type_are_checked_before_rules: rule(7);
                a_frame_over_the_rate_is_not_validated: rule(12);
                a_room_that_closes_on_invalid_frames_closes_after_a_broken_rule: rule(7);
                a_frame_that_breaks_a_rule_wakes_the_room: rule(7);
                an_event_of_the_worker_that_breaks_a_rule_is_a_typed_error: rule(7);
                a_peer_of_the_worker_gets_the_broken_rules: rule(7);
                data_of_an_upgrade_that_breaks_a_rule_is_a_typed_error: rule(7);
                data_that_on_upgrade_makes_invalid_is_an_error_of_the_room: rule(7);
                a_change_of_data_that_breaks_a_rule_is_a_typed_error_and_changes_nothing: rule(7);
                a_message_that_breaks_a_rule_is_a_typed_error_and_nobody_gets_it: rule(7);
                a_message_to_a_topic_that_breaks_a_rule_reaches_no_peer_of_either_codec: rule(7);
                a_batch_has_no_message_that_breaks_a_rule: rule(7);
                a_room_without_the_option_checks_types_only: rule(7);
            }
        }
    };
}

macro_rules! tables {
    ($($module:ident { $($name:ident: $about:expr $(, only $platform:ident: $reason:literal)?;)* })*) => {
        /// All cases, in memory.
        pub fn memory() -> Vec<Case<Memory>> {
            vec![$($(Case {
                name: stringify!($name),
                about: $about$(.only(platform!($platform), $reason))?,
                run: run!(memory, $module::$name $(, $platform)?),
            },)*)*]
        }

        /// All cases, on workerd.
        pub fn workerd() -> Vec<Case<Workerd>> {
            vec![$($(Case {
                name: stringify!($name),
                about: $about$(.only(platform!($platform), $reason))?,
                run: run!(workerd, $module::$name $(, $platform)?),
            },)*)*]
        }
    };
}

macro_rules! platform {
    (memory) => {
        Platform::Memory
    };
    (workerd) => {
        Platform::Workerd
    };
}

macro_rules! run {
    (memory, $module:ident::$name:ident, workerd) => {
        None
    };
    (workerd, $module:ident::$name:ident, memory) => {
        None
    };
    ($on:ident, $module:ident::$name:ident $(, $platform:ident)?) => {
        Some(|harness| Box::pin($module::$name(harness)))
    };
}

all_cases!(tables);
