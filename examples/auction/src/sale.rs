//! The rules of an auction, without a room: money, the order of bids, maximums, extensions.
//!
//! Amounts are whole cents, so that no sum is rounded. [`MAX_PRICE`] is far below 2^53, the largest integer that a page can
//! count exactly.

use std::fmt;

use room_runtime::data;

/// The largest amount in cents.
pub const MAX_PRICE: u64 = 1_000_000_000;
/// A bid within this time before the end moves the end to this long after the bid.
pub const EXTENSION_MS: u64 = 10_000;

const TITLE: std::ops::RangeInclusive<usize> = 3..=80;
const MAX_DESCRIPTION: usize = 500;
const DURATION_S: std::ops::RangeInclusive<u64> = 15..=7 * 24 * 3600;
const MAX_DELAY_S: u64 = 7 * 24 * 3600;

/// A bidder or a seller.
#[data]
pub struct User {
    /// The id, which is also the peer id of the user's connections.
    pub id: String,
    pub name: String,
}

/// The request for a new auction.
#[data]
pub struct Lot {
    pub title: String,
    #[serde(default)]
    pub description: String,
    /// In cents.
    pub start_price: u64,
    /// The time for bids, in seconds.
    pub duration_s: u64,
    /// The time before the first bid, in seconds.
    #[serde(default)]
    pub delay_s: u64,
}

/// The reason why an auction is not opened.
#[data]
pub enum OpenError {
    /// The room has an auction already.
    AlreadyOpen,
    Title {
        min: usize,
        max: usize,
    },
    Description {
        max: usize,
    },
    StartPrice {
        least: u64,
        most: u64,
    },
    Duration {
        least_s: u64,
        most_s: u64,
    },
    Delay {
        most_s: u64,
    },
}

impl OpenError {
    /// The field of [`Lot`] that breaks a rule.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            OpenError::AlreadyOpen => None,
            OpenError::Title { .. } => Some("title"),
            OpenError::Description { .. } => Some("description"),
            OpenError::StartPrice { .. } => Some("start_price"),
            OpenError::Duration { .. } => Some("duration_s"),
            OpenError::Delay { .. } => Some("delay_s"),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::AlreadyOpen => write!(f, "the auction is open already"),
            OpenError::Title { min, max } => write!(f, "a title has {min} to {max} characters, on one line"),
            OpenError::Description { max } => write!(f, "a description has at most {max} characters"),
            OpenError::StartPrice { least, most } => write!(f, "a start price is {least} to {most} cents"),
            OpenError::Duration { least_s, most_s } => write!(f, "an auction takes {least_s} to {most_s} seconds"),
            OpenError::Delay { most_s } => write!(f, "an auction begins within {most_s} seconds"),
        }
    }
}

impl Lot {
    /// Returns the lot with tidy texts.
    ///
    /// # Errors
    /// Fails with the first rule that the lot breaks.
    pub fn checked(self) -> Result<Self, OpenError> {
        let title = self.title.trim().to_owned();
        if !TITLE.contains(&title.chars().count()) || title.chars().any(char::is_control) {
            return Err(OpenError::Title { min: *TITLE.start(), max: *TITLE.end() });
        }
        let description = self.description.trim().to_owned();
        if description.chars().count() > MAX_DESCRIPTION {
            return Err(OpenError::Description { max: MAX_DESCRIPTION });
        }
        if !(1..=MAX_PRICE).contains(&self.start_price) {
            return Err(OpenError::StartPrice { least: 1, most: MAX_PRICE });
        }
        if !DURATION_S.contains(&self.duration_s) {
            return Err(OpenError::Duration { least_s: *DURATION_S.start(), most_s: *DURATION_S.end() });
        }
        if self.delay_s > MAX_DELAY_S {
            return Err(OpenError::Delay { most_s: MAX_DELAY_S });
        }
        Ok(Lot { title, description, ..self })
    }
}

/// The reason why a bid or a maximum is refused.
#[data]
pub enum BidError {
    /// The bidding has not begun.
    NotStarted { opens_at_ms: u64 },
    /// The time is up.
    Closed,
    /// Spectators do not bid.
    SignIn,
    /// Sellers do not bid for their own lot.
    OwnLot,
    /// The bidder has the highest bid already, and can raise the maximum.
    OwnBid { price: u64 },
    /// In cents.
    TooLow { least: u64 },
    /// In cents.
    TooHigh { most: u64 },
}

#[data]
pub enum Phase {
    Upcoming,
    Running,
    Sold,
    Unsold,
}

/// A step of the history.
#[data]
pub struct Step {
    pub user: User,
    pub amount: u64,
    /// True if the room bid for the user, up to the user's maximum.
    pub is_automatic: bool,
}

/// A bid or a maximum that was accepted.
#[derive(Debug, PartialEq)]
pub struct Accepted {
    /// The new bids, oldest first; none if a leader changed the own maximum.
    pub steps: Vec<Step>,
    /// The user whose bid is not the highest any more, or never was.
    pub outbid: Option<User>,
    pub is_extended: bool,
}

/// An amount that a bidder offers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Offer {
    /// A bid of exactly this amount.
    Exactly(u64),
    /// The least bid that wins against the others, up to this amount.
    UpTo(u64),
}

/// The holder of the highest bid.
///
/// One maximum is enough: whoever is outbid had a maximum below the price, or one that was as high and came later.
#[data]
pub struct Leader {
    pub user: User,
    pub price: u64,
    /// Only the leader may know it.
    pub maximum: u64,
}

/// An auction that was opened.
#[data]
pub struct Sale {
    pub lot: Lot,
    pub seller: User,
    pub opens_at_ms: u64,
    pub ends_at_ms: u64,
    pub is_closed: bool,
    pub leader: Option<Leader>,
    /// The number of bids.
    pub bids: u64,
}

impl Sale {
    pub fn new(lot: Lot, seller: User, now_ms: u64) -> Self {
        let opens_at_ms = now_ms + lot.delay_s * 1_000;
        let ends_at_ms = opens_at_ms + lot.duration_s * 1_000;
        Sale { lot, seller, opens_at_ms, ends_at_ms, is_closed: false, leader: None, bids: 0 }
    }

    /// The highest bid, or the start price.
    pub fn price(&self) -> u64 {
        self.leader.as_ref().map_or(self.lot.start_price, |leader| leader.price)
    }

    /// The least amount of the next bid.
    pub fn least(&self) -> u64 {
        self.leader.as_ref().map_or(self.lot.start_price, |leader| leader.price + step(leader.price))
    }

    pub fn phase(&self, now_ms: u64) -> Phase {
        match (self.is_closed, &self.leader) {
            (true, Some(_)) => Phase::Sold,
            (true, None) => Phase::Unsold,
            (false, _) if now_ms < self.opens_at_ms => Phase::Upcoming,
            (false, _) => Phase::Running,
        }
    }

    /// The maximum of a user who has the highest bid.
    pub fn maximum_of(&self, id: &str) -> Option<u64> {
        self.leader.as_ref().filter(|leader| leader.user.id == id).map(|leader| leader.maximum)
    }

    /// Accepts a bid or a maximum. The clock decides, also if the alarm that closes the auction is late.
    ///
    /// # Errors
    /// Fails with the rule that the offer breaks, and changes nothing then.
    pub fn offer(&mut self, user: &User, offer: Offer, now_ms: u64) -> Result<Accepted, BidError> {
        if now_ms < self.opens_at_ms {
            return Err(BidError::NotStarted { opens_at_ms: self.opens_at_ms });
        }
        if self.is_closed || now_ms >= self.ends_at_ms {
            return Err(BidError::Closed);
        }
        if user.id == self.seller.id {
            return Err(BidError::OwnLot);
        }
        let (Offer::Exactly(amount) | Offer::UpTo(amount)) = offer;
        if amount > MAX_PRICE {
            return Err(BidError::TooHigh { most: MAX_PRICE });
        }
        let least = self.least();
        if let Some(leader) = self.leader.as_mut().filter(|leader| leader.user.id == user.id) {
            let price = leader.price;
            return match offer {
                Offer::Exactly(_) => Err(BidError::OwnBid { price }),
                Offer::UpTo(_) if amount < price => Err(BidError::TooLow { least: price }),
                Offer::UpTo(_) => {
                    leader.maximum = amount;
                    Ok(Accepted { steps: Vec::new(), outbid: None, is_extended: false })
                }
            };
        }
        if amount < least {
            return Err(BidError::TooLow { least });
        }
        let (steps, outbid) = self.contest(user, offer, amount);
        self.bids += steps.len() as u64;
        let is_extended = self.ends_at_ms - now_ms < EXTENSION_MS;
        if is_extended {
            self.ends_at_ms = now_ms + EXTENSION_MS;
        }
        Ok(Accepted { steps, outbid, is_extended })
    }

    /// Lets a challenger's offer and the leader's maximum bid against each other. The earlier of two equal offers wins.
    fn contest(&mut self, user: &User, offer: Offer, amount: u64) -> (Vec<Step>, Option<User>) {
        let own = |amount| Step { user: user.clone(), amount, is_automatic: false };
        let old = self.leader.take();
        let (leader, steps) = match &old {
            Some(old) if amount <= old.maximum => {
                let price = old.maximum.min(amount + step(amount));
                let answer = Step { user: old.user.clone(), amount: price, is_automatic: true };
                (Leader { price, ..old.clone() }, vec![own(amount), answer])
            }
            old => {
                let enough = old.as_ref().map_or(self.lot.start_price, |old| old.maximum + step(old.maximum));
                let price = match offer {
                    Offer::Exactly(amount) => amount,
                    Offer::UpTo(amount) => amount.min(enough),
                };
                let last = old.as_ref().filter(|old| old.price < old.maximum);
                let last = last.map(|old| Step { user: old.user.clone(), amount: old.maximum, is_automatic: true });
                let leader = Leader { user: user.clone(), price, maximum: amount };
                (leader, last.into_iter().chain([own(price)]).collect())
            }
        };
        let outbid = if leader.user == *user { old.map(|old| old.user) } else { Some(user.clone()) };
        self.leader = Some(leader);
        (steps, outbid)
    }

    /// Closes the auction if its time is up. Returns whether it was open until now.
    pub fn close(&mut self, now_ms: u64) -> bool {
        let is_due = !self.is_closed && now_ms >= self.ends_at_ms;
        self.is_closed |= is_due;
        is_due
    }
}

/// The difference between a price and the least bid above it.
pub fn step(price: u64) -> u64 {
    match price {
        0..1_000 => 50,
        1_000..10_000 => 100,
        10_000..50_000 => 500,
        50_000..100_000 => 1_000,
        100_000..500_000 => 2_500,
        _ => 10_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENS: u64 = 5_000;
    const ENDS: u64 = 65_000;

    fn lot() -> Lot {
        let (title, description) = ("A brass lamp".to_owned(), String::new());
        Lot { title, description, start_price: 1_000, duration_s: 60, delay_s: 0 }
    }

    fn user(id: &str) -> User {
        User { id: id.to_owned(), name: id.to_uppercase() }
    }

    fn sale() -> Sale {
        Sale::new(lot(), user("sally"), OPENS)
    }

    /// The steps as (user, amount, automatic).
    fn steps(accepted: &Accepted) -> Vec<(&str, u64, bool)> {
        accepted.steps.iter().map(|step| (&*step.user.id, step.amount, step.is_automatic)).collect()
    }

    fn leads(sale: &Sale) -> (&str, u64, u64) {
        let leader = sale.leader.as_ref().expect("a leader");
        (&leader.user.id, leader.price, leader.maximum)
    }

    #[test]
    fn a_bid_is_at_least_the_start_price_and_then_a_step_more() {
        let mut sale = sale();
        let bid = |sale: &mut Sale, id: &str, amount| sale.offer(&user(id), Offer::Exactly(amount), OPENS);
        assert_eq!(bid(&mut sale, "ada", 999), Err(BidError::TooLow { least: 1_000 }));
        assert!(bid(&mut sale, "ada", 1_000).is_ok());
        assert_eq!(bid(&mut sale, "bob", 1_099), Err(BidError::TooLow { least: 1_100 }));
        assert_eq!(bid(&mut sale, "ada", 5_000), Err(BidError::OwnBid { price: 1_000 }));
        assert_eq!(bid(&mut sale, "sally", 5_000), Err(BidError::OwnLot));
        assert_eq!(bid(&mut sale, "bob", MAX_PRICE + 1), Err(BidError::TooHigh { most: MAX_PRICE }));
        assert_eq!(bid(&mut sale, "bob", u64::MAX), Err(BidError::TooHigh { most: MAX_PRICE }));
        let accepted = bid(&mut sale, "bob", 2_500).expect("accepted");
        assert_eq!(steps(&accepted), [("bob", 2_500, false)]);
        assert_eq!(accepted.outbid, Some(user("ada")));
        assert_eq!(leads(&sale), ("bob", 2_500, 2_500));
        assert!(bid(&mut sale, "ada", MAX_PRICE).is_ok());
        assert_eq!(sale.bids, 3);
    }

    #[test]
    fn the_clock_bounds_the_bidding() {
        let mut sale = Sale::new(Lot { delay_s: 5, ..lot() }, user("sally"), 0);
        let mut bid = |now_ms| sale.offer(&user("ada"), Offer::Exactly(1_000), now_ms).map(drop);
        assert_eq!(bid(OPENS - 1), Err(BidError::NotStarted { opens_at_ms: OPENS }));
        assert_eq!(bid(ENDS), Err(BidError::Closed));
        assert_eq!(bid(OPENS), Ok(()));
        assert!(!sale.close(ENDS - 1));
        assert!(sale.close(ENDS) && !sale.close(ENDS));
        assert_eq!(sale.phase(ENDS), Phase::Sold);
        assert_eq!(sale.offer(&user("bob"), Offer::Exactly(2_000), OPENS), Err(BidError::Closed));
    }

    #[test]
    fn a_late_bid_extends_the_auction() {
        let mut sale = sale();
        let mut bid = |id: &str, amount, now_ms| {
            let is_extended =
                sale.offer(&user(id), Offer::Exactly(amount), now_ms).map(|accepted| accepted.is_extended);
            (is_extended, sale.ends_at_ms)
        };
        let early = ENDS - EXTENSION_MS;
        assert_eq!(bid("ada", 1_000, early), (Ok(false), ENDS));
        assert_eq!(bid("bob", 2_000, early + 1), (Ok(true), ENDS + 1));
        assert_eq!(bid("ada", 3_000, ENDS), (Ok(true), ENDS + EXTENSION_MS));
        assert_eq!(bid("bob", 1, ENDS + 1), (Err(BidError::TooLow { least: 3_100 }), ENDS + EXTENSION_MS));
    }

    #[test]
    fn the_highest_maximum_wins_for_one_step_more_than_the_next() {
        let mut sale = sale();
        let up_to = |sale: &mut Sale, id: &str, amount| sale.offer(&user(id), Offer::UpTo(amount), OPENS);
        assert_eq!(steps(&up_to(&mut sale, "ada", 3_000).expect("accepted")), [("ada", 1_000, false)]);
        assert_eq!(leads(&sale), ("ada", 1_000, 3_000));

        // A bid below the maximum is answered at once.
        let accepted = sale.offer(&user("bob"), Offer::Exactly(2_000), OPENS).expect("accepted");
        assert_eq!(steps(&accepted), [("bob", 2_000, false), ("ada", 2_100, true)]);
        assert_eq!(accepted.outbid, Some(user("bob")));

        // An equal maximum comes too late.
        let accepted = up_to(&mut sale, "bob", 3_000).expect("accepted");
        assert_eq!(steps(&accepted), [("bob", 3_000, false), ("ada", 3_000, true)]);
        assert_eq!(leads(&sale), ("ada", 3_000, 3_000));

        let accepted = up_to(&mut sale, "bob", 9_000).expect("accepted");
        assert_eq!(steps(&accepted), [("bob", 3_100, false)]);
        assert_eq!((leads(&sale), accepted.outbid), (("bob", 3_100, 9_000), Some(user("ada"))));

        // The old leader's maximum is in the history before it is outbid.
        let accepted = sale.offer(&user("ada"), Offer::Exactly(20_000), OPENS).expect("accepted");
        assert_eq!(steps(&accepted), [("bob", 9_000, true), ("ada", 20_000, false)]);
        assert_eq!(sale.bids, 8);
    }

    #[test]
    fn a_leader_can_change_the_maximum_down_to_the_price() {
        let mut sale = sale();
        let up_to = |sale: &mut Sale, amount| sale.offer(&user("ada"), Offer::UpTo(amount), ENDS - 1);
        assert_eq!(up_to(&mut sale, 999), Err(BidError::TooLow { least: 1_000 }));
        assert!(up_to(&mut sale, 5_000).expect("accepted").is_extended);
        let ends_at_ms = sale.ends_at_ms;
        assert_eq!(up_to(&mut sale, 999), Err(BidError::TooLow { least: 1_000 }));
        let changed = Accepted { steps: Vec::new(), outbid: None, is_extended: false };
        assert_eq!(up_to(&mut sale, 1_000), Ok(changed));
        assert_eq!((leads(&sale), sale.ends_at_ms), (("ada", 1_000, 1_000), ends_at_ms));
        assert_eq!((sale.maximum_of("ada"), sale.maximum_of("bob")), (Some(1_000), None));
    }

    #[test]
    fn a_lot_has_limits() {
        let refused = |change: fn(&mut Lot)| {
            let mut lot = lot();
            change(&mut lot);
            lot.checked().expect_err("refused").field()
        };
        assert_eq!(lot().checked(), Ok(lot()));
        assert_eq!(Lot { title: format!("  {} ", lot().title), ..lot() }.checked(), Ok(lot()));
        assert_eq!(refused(|lot| lot.title = " ab ".to_owned()), Some("title"));
        assert_eq!(refused(|lot| lot.title = "x".repeat(81)), Some("title"));
        assert_eq!(refused(|lot| lot.title = "two\nlines".to_owned()), Some("title"));
        assert_eq!(refused(|lot| lot.description = "x".repeat(501)), Some("description"));
        assert_eq!(refused(|lot| lot.start_price = 0), Some("start_price"));
        assert_eq!(refused(|lot| lot.start_price = MAX_PRICE + 1), Some("start_price"));
        assert_eq!(refused(|lot| lot.duration_s = 14), Some("duration_s"));
        assert_eq!(refused(|lot| lot.duration_s = u64::MAX), Some("duration_s"));
        assert_eq!(refused(|lot| lot.delay_s = u64::MAX), Some("delay_s"));
    }
}
