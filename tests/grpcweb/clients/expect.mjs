// What cases are made of: comparisons that throw what is wrong, and the status behind an error.
import { fromBinary } from "@bufbuild/protobuf";
import { StatusSchema } from "./build/es/google/rpc/status_pb.js";

export function equal(expected, actual, what) {
  const plain = (_, value) => (typeof value === "bigint" ? Number(value) : value);
  const [left, right] = [expected, actual].map((value) => JSON.stringify(value, plain));
  if (left !== right) throw new Error(`${what}: expected ${left}, got ${right}`);
}

export async function fails(expected, call) {
  try {
    await call;
  } catch (error) {
    if (error.code === undefined) throw error;
    equal(expected, error.code, `the status ("${error.message}")`);
    return error;
  }
  throw new Error(`no error, but status ${expected} was expected`);
}

// The google.rpc.Status that an error carries.
export function statusOf(error) {
  const value = error.metadata["grpc-status-details-bin"];
  const bytes = Uint8Array.from(atob(Array.isArray(value) ? value[0] : value), (each) => each.charCodeAt(0));
  return fromBinary(StatusSchema, bytes);
}
