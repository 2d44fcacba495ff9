/** The one message at the foot of the page, with what can be done about it. */

export interface Message {
  readonly text: string;
  /** A refusal interrupts a screen reader; a confirmation waits for its turn. */
  readonly urgent: boolean;
  readonly action?: { readonly label: string; readonly run: () => void };
}

/** Long enough to reach the button by keyboard; it also waits while the pointer or the focus is on it. */
const LIFE = 20_000;

class Toast {
  message = $state.raw<Message | null>(null);
  #timer: ReturnType<typeof setTimeout> | undefined;

  show(text: string, action?: Message["action"]): void {
    this.#set({ text, urgent: false, ...(action ? { action } : {}) });
  }

  /** With an action it asks for a decision, and stays until that is made. */
  alert(text: string, action?: Message["action"]): void {
    this.#set({ text, urgent: true, ...(action ? { action } : {}) });
  }

  dismiss(): void {
    clearTimeout(this.#timer);
    this.message = null;
  }

  hold(): void {
    clearTimeout(this.#timer);
  }

  release(): void {
    clearTimeout(this.#timer);
    if (this.message?.urgent && this.message.action) return;
    this.#timer = setTimeout(() => this.dismiss(), LIFE);
  }

  #set(message: Message): void {
    this.message = message;
    this.release();
  }
}

export const toast = new Toast();
