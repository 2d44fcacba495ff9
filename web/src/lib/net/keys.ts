/** The client of the keys: a module of its own, because only the account's dialog needs it. */
import { createClient } from "@connectrpc/connect";

import { KeyService } from "../../gen/appointments/v1/keys_pb.js";
import { faulting, transport } from "./api.ts";

export const keyService = faulting(createClient(KeyService, transport));
