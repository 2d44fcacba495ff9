/** The client of free time: a module of its own, because the first load does without it. */
import { createClient } from "@connectrpc/connect";

import { AvailabilityService } from "../../gen/appointments/v1/availability_pb.js";
import { faulting, transport } from "./api.ts";

export const availabilityService = faulting(createClient(AvailabilityService, transport));
