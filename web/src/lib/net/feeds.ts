/** The client of the feeds: a module of its own, because only the account's dialog needs it. */
import { createClient } from "@connectrpc/connect";

import { FeedService } from "../../gen/appointments/v1/feeds_pb.js";
import { faulting, transport } from "./api.ts";

export const feedService = faulting(createClient(FeedService, transport));
