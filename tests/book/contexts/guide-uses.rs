// The imports of tests beside the room of the chapter "Concepts".
use crate::rooms::shout;

mod tests {
    // BLOCK
}
