/** The client of series: a module of its own, because only the editor and what undoes it need it. */
import { createClient } from "@connectrpc/connect";

import { SeriesService } from "../../gen/appointments/v1/series_pb.js";
import { faulting, transport } from "./api.ts";

export const seriesService = faulting(createClient(SeriesService, transport));
