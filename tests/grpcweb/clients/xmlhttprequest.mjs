// The part of XMLHttpRequest that grpc-web needs, for Node, which has only fetch.
export class XMLHttpRequest {
  readyState = 0;
  status = 0;
  statusText = "";
  responseType = "";
  responseText = "";
  response = "";
  withCredentials = false;
  onreadystatechange = () => {};
  #abort = new AbortController();
  #headers = [];
  #url = "";
  #answer = null;

  open(_method, url) {
    this.#url = url;
    this.#advance(1);
  }

  setRequestHeader(name, value) {
    this.#headers.push([name, value]);
  }

  getResponseHeader(name) {
    return this.#answer?.headers.get(name) ?? null;
  }

  getAllResponseHeaders() {
    return [...(this.#answer?.headers ?? [])].map(([name, value]) => `${name}: ${value}\r\n`).join("");
  }

  abort() {
    this.#abort.abort();
  }

  send(body) {
    this.#run(body).catch(() => {
      if (this.#abort.signal.aborted) return;
      this.status = 0;
      this.#advance(4);
    });
  }

  async #run(body) {
    const binary = this.responseType === "arraybuffer";
    if (binary) this.response = null;
    this.#answer = await fetch(this.#url, { method: "POST", headers: this.#headers, body, signal: this.#abort.signal });
    this.status = this.#answer.status;
    this.statusText = this.#answer.statusText;
    this.#advance(2);
    const pieces = [];
    for await (const piece of this.#answer.body) {
      pieces.push(piece);
      if (!binary) this.response = this.responseText += Buffer.from(piece).toString("latin1");
      this.#advance(3);
    }
    if (binary) this.response = await new Blob(pieces).arrayBuffer();
    this.#advance(4);
  }

  #advance(state) {
    this.readyState = state;
    this.onreadystatechange();
  }
}
