declare const url: string;

// BLOCK
