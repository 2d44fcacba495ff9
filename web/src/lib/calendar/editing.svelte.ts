/** The draft in the editor. It outlives the editor's dialog, so that a session that ends in the middle loses nothing. */
import type { Draft } from "./draft.ts";

class Editing {
  /** What the editor shows; null while it is closed. */
  open = $state<Draft | null>(null);
  #owner = "";

  edit(draft: Draft, owner: string): void {
    this.open = draft;
    this.#owner = owner;
  }

  close(): void {
    this.open = null;
  }

  /** Somebody has signed in: only the draft's owner may see it. */
  keepFor(user: string): void {
    if (this.#owner !== user) this.open = null;
  }
}

export const editing = new Editing();
