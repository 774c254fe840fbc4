// The editor: CodeMirror, with the text and the cursors of Yjs.

import { defaultKeymap } from "@codemirror/commands";
import { Compartment, EditorState } from "@codemirror/state";
import { EditorView, drawSelection, keymap, placeholder } from "@codemirror/view";
import { yCollab, yUndoManagerKeymap } from "y-codemirror.next";
import * as Y from "yjs";
import type { Awareness } from "./users.ts";

export interface Editor {
  focus(): void;
  setReadOnly(): void;
}

export function createEditor(parent: HTMLElement, text: Y.Text, awareness: Awareness, label: string): Editor {
  const editable = new Compartment();
  // Undo takes back one's own changes and not those of the others, so it is that of Yjs and not that of CodeMirror.
  const undoManager = new Y.UndoManager(text);
  const view = new EditorView({
    parent,
    state: EditorState.create({
      doc: text.toString(),
      extensions: [
        // Tab is not bound: it moves the focus on, as everywhere.
        keymap.of([...yUndoManagerKeymap, ...defaultKeymap]),
        drawSelection(),
        EditorView.lineWrapping,
        // The tab index says that the keyboard reaches the region that scrolls.
        EditorView.contentAttributes.of({ "aria-label": label, tabindex: "0", spellcheck: "true", autocapitalize: "sentences" }),
        placeholder("Start to write. Everyone with the link sees it at once."),
        editable.of([]),
        yCollab(text, awareness, { undoManager }),
      ],
    }),
  });
  return {
    focus: () => view.focus(),
    setReadOnly: () => view.dispatch({ effects: editable.reconfigure(EditorState.readOnly.of(true)) }),
  };
}
