// A call that ended badly, in the same terms for every client; `shown` is the message as the client itself gives it.
export class Failed extends Error {
  constructor(code, message, metadata, shown = message) {
    super(message);
    this.code = code;
    this.metadata = metadata;
    this.shown = shown;
  }
}
