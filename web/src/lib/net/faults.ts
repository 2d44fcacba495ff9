/** Everything that can go wrong with a request, in the few kinds that the page treats differently. */
import { Code, ConnectError } from "@connectrpc/connect";
import { timestampMs } from "@bufbuild/protobuf/wkt";

import { ConflictInfoSchema } from "../../gen/appointments/v1/appointments_pb.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import type { Span } from "../time/spans.ts";

export type Kind =
  /** No answer, or the service cannot answer now: a retry may help. */
  | "unreachable"
  /** Too many attempts: a retry helps after `retryAfter`. */
  | "throttled"
  | "signedOut"
  | "conflict"
  | "stale"
  | "missing"
  | "invalid"
  | "other";

/** One field that the server refused, by its name in the contract. */
export interface BadField {
  readonly field: string;
  readonly description: string;
}

interface Details {
  reason?: string;
  metadata?: Readonly<Record<string, string>>;
  fields?: readonly BadField[];
  collisions?: readonly (Span & { readonly id: string })[];
  resourceIds?: readonly string[];
  retryAfter?: number;
  status?: ConnectError;
}

/** A request that failed, with a message for the person. */
export class Fault extends Error {
  readonly kind: Kind;
  readonly reason: string;
  /** What the reason is about, by the names of the contract. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly fields: readonly BadField[];
  readonly collisions: readonly (Span & { readonly id: string })[];
  /** The rooms and equipment that are taken, in a conflict. */
  readonly resourceIds: readonly string[];
  /** Seconds until a retry makes sense. */
  readonly retryAfter: number;
  /** The failed RPC, for whoever knows more of its details. */
  readonly status: ConnectError | undefined;

  constructor(kind: Kind, message: string, details: Details = {}) {
    super(message);
    this.kind = kind;
    this.reason = details.reason ?? "";
    this.metadata = details.metadata ?? {};
    this.fields = details.fields ?? [];
    this.collisions = details.collisions ?? [];
    this.resourceIds = details.resourceIds ?? [];
    this.retryAfter = details.retryAfter ?? 0;
    this.status = details.status;
  }
}

export const unreachable = (): Fault => new Fault("unreachable", "The server can’t be reached.");

/** Whether to try again by itself. */
export const retryable = (error: unknown): boolean =>
  error instanceof Fault && (error.kind === "unreachable" || error.kind === "throttled");

const KINDS: Partial<Record<Code, Kind>> = {
  [Code.Unavailable]: "unreachable",
  [Code.DeadlineExceeded]: "unreachable",
  [Code.ResourceExhausted]: "throttled",
  [Code.Unauthenticated]: "signedOut",
  [Code.Aborted]: "stale",
  [Code.NotFound]: "missing",
  [Code.InvalidArgument]: "invalid",
};

/** A failed RPC as a fault. */
export function faultOf(error: unknown): Fault {
  if (error instanceof Fault) return error;
  const status = ConnectError.from(error);
  if (status.cause instanceof Fault) return status.cause;
  // fetch() says TypeError for every failure of the network.
  if (status.cause instanceof TypeError) return unreachable();
  const { reason = "", metadata = {} } = status.findDetails(ErrorInfoSchema)[0] ?? {};
  const conflict = status.findDetails(ConflictInfoSchema)[0];
  const delay = status.findDetails(RetryInfoSchema)[0]?.retryDelay;
  let kind = conflict ? "conflict" : (KINDS[status.code] ?? "other");
  if (kind === "unreachable") return unreachable();
  // What is too large stays too large: only with a delay is it a matter of time.
  if (kind === "throttled" && !delay) kind = "other";
  return new Fault(kind, sentence(status.rawMessage), {
    reason,
    metadata,
    fields: status.findDetails(BadRequestSchema).flatMap((detail) => detail.fieldViolations),
    collisions: (conflict?.appointments ?? []).map(({ id, startTime, endTime }) => ({
      id,
      start: startTime ? timestampMs(startTime) : 0,
      end: endTime ? timestampMs(endTime) : 0,
    })),
    resourceIds: conflict?.resourceIds ?? [],
    retryAfter: delay ? Number(delay.seconds) + delay.nanos / 1e9 : 0,
    status,
  });
}

interface Problem {
  detail?: string;
  title?: string;
  reason?: string;
  errors?: BadField[];
}

/** A failed answer of the REST endpoints (RFC 9457) as a fault. */
export async function faultOfResponse(response: Response): Promise<Fault> {
  if ([502, 503, 504].includes(response.status)) return unreachable();
  const problem = (await response.json().catch(() => ({}))) as Problem;
  const kind: Kind =
    response.status === 401
      ? "signedOut"
      : response.status === 429
        ? "throttled"
        : response.status === 400
          ? "invalid"
          : "other";
  return new Fault(kind, sentence(problem.detail ?? problem.title ?? ""), {
    reason: problem.reason ?? "",
    fields: problem.errors ?? [],
    retryAfter: Number(response.headers.get("retry-after") ?? 0),
  });
}

/** A message of the server as a sentence for the person. */
export function sentence(message: string): string {
  const text = message.trim() || "Something went wrong on the server.";
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}
