// The LoRA adapters of a request: those of its model, or those that it names.
//
// `adapters` is a list of names of models in the store, each alone or with a scale:
//   "adapters": ["mistral-sql", {"name": "mistral-polite", "scale": 0.5}]
// They stand in for the model's own; an empty list switches these off. An adapter belongs to the
// weights that it was made for, so the model that brings it must have the request's.
#pragma once

#include <vector>

#include "api/native/serve.h"
#include "core/job.h"

namespace corral::api {

// The files of the adapters that `request` is answered with on `model`; looks into the store only
// if it names some. Refused: a name that is none or has no adapter, one for other weights, too
// many.
http::Task<Answer<std::vector<AdapterUse>>> FindAdapters(http::Exchange& exchange,
                                                         const Services& services,
                                                         const ModelParts& request, ModelPtr model);

// For a request that only loads: loads the adapters too, so that a bad one is an error here. Gives
// the lease back.
http::Task<Answer<void>> LoadAdapters(http::Exchange& exchange, scheduler::Lease lease,
                                      std::vector<AdapterUse> adapters);

}  // namespace corral::api
