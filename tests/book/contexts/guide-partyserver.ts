import { Server, type Connection, type WSMessage } from "partyserver";

// BLOCK
