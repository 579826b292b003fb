#include "src/chat/server/completion_request.h"

#include <gtest/gtest.h>

#include <string>
#include <variant>
#include <vector>

#include "src/chat/server/http/request_error.h"

namespace shori {
namespace {

constexpr std::int64_t kVocab = 100;

CompletionRequest parse(const std::string& members, Interface interface = Interface::kLlama) {
  return parse_completion_request("{" + members + "}", interface, kVocab);
}

CompletionRequest parse_with_prompt(const std::string& members, Interface interface = Interface::kLlama) {
  return parse("\"prompt\":\"x\"" + (members.empty() ? "" : "," + members), interface);
}

struct SettingCase {
  const char* members;
  SamplerSettings expected;
};

SamplerSettings settings(void (*change)(SamplerSettings&)) {
  SamplerSettings settings;
  settings.temperature_last = true;
  change(settings);
  return settings;
}

TEST(CompletionRequestTest, ReadsSamplersUnderTheirNames) {
  const SettingCase cases[] = {
      {"", settings([](SamplerSettings&) {})},
      {R"("temperature":0.5)", settings([](SamplerSettings& s) { s.temperature = 0.5f; })},
      {R"("temperature":null)", settings([](SamplerSettings&) {})},
      {R"("top_k":40,"top_p":0.9,"min_p":0.07)", settings([](SamplerSettings& s) {
         s.top_k = 40;
         s.top_p = 0.9f;
         s.min_p = 0.07f;
       })},
      {R"("top_k":-1)", settings([](SamplerSettings& s) { s.top_k = -1; })},
      {R"("repeat_penalty":1.1)", settings([](SamplerSettings& s) { s.repetition_penalty = 1.1f; })},
      {R"("repetition_penalty":1.1)", settings([](SamplerSettings& s) { s.repetition_penalty = 1.1f; })},
      {R"("rep_pen":1.1)", settings([](SamplerSettings& s) { s.repetition_penalty = 1.1f; })},
      {R"("repeat_last_n":64)", settings([](SamplerSettings& s) { s.penalty_window = 64; })},
      {R"("rep_pen_range":64.0)", settings([](SamplerSettings& s) { s.penalty_window = 64; })},
      {R"("presence_penalty":-0.4)", settings([](SamplerSettings& s) { s.presence_penalty = -0.4f; })},
      {R"("frequency_penalty":0.12)", settings([](SamplerSettings& s) { s.frequency_penalty = 0.12f; })},
      {R"("mirostat":2,"mirostat_tau":2.9,"mirostat_eta":0.019)", settings([](SamplerSettings& s) {
         s.mirostat = 2;
         s.mirostat_tau = 2.9f;
         s.mirostat_eta = 0.019f;
       })},
      {R"("mirostat_mode":2)", settings([](SamplerSettings& s) { s.mirostat = 2; })},
      {R"("temperature_last":false)", settings([](SamplerSettings& s) { s.temperature_last = false; })},
  };
  for (const SettingCase& c : cases) EXPECT_EQ(parse_with_prompt(c.members).sampler, c.expected) << c.members;
}

TEST(CompletionRequestTest, TemperatureStandsWhereTheListOfSamplersSays) {
  const std::string active = R"("temperature":2,"min_p":0.4,"presence_penalty":0.4,"samplers":)";
  const struct {
    const char* list;
    bool last;
  } cases[] = {
      {R"(["penalties","dry","top_n_sigma","top_k","typ_p","top_p","min_p","xtc","temperature"])", true},
      {R"(["penalties","dry","temperature","top_n_sigma","top_k","typ_p","top_p","min_p","xtc"])", false},
      {R"(["penalties","top_k","temperature","min_p"])", false},  // top-k is off
      {R"(["penalties","min_p","temperature","top_p"])", true},   // top-p is off
  };
  for (const auto& c : cases) EXPECT_EQ(parse_with_prompt(active + c.list).sampler.temperature_last, c.last) << c.list;
  EXPECT_TRUE(parse_with_prompt("").sampler.temperature_last);
  EXPECT_FALSE(parse_with_prompt("", Interface::kOpenAi).sampler.temperature_last);
}

TEST(CompletionRequestTest, SamplersThatTheListLeavesOutAreOff) {
  const auto request =
      parse_with_prompt(R"("temperature":2,"min_p":0.4,"presence_penalty":0.4,"samplers":["temperature"])");
  EXPECT_EQ(request.sampler.min_p, 0.0f);
  EXPECT_EQ(request.sampler.penalty_window, 0);
  EXPECT_EQ(request.sampler.temperature, 2.0f);
  EXPECT_EQ(request.ignored, (std::vector<std::string>{"penalties (not in samplers)", "min_p (not in samplers)"}));
}

TEST(CompletionRequestTest, AnEmptyListTurnsEverySamplerOff) {
  const auto request =
      parse_with_prompt(R"("temperature":2,"min_p":0.4,"top_p":0.9,"top_k":5,"presence_penalty":0.4,"samplers":[])");
  EXPECT_EQ(request.sampler,
            (SamplerSettings{
                .temperature_last = request.sampler.temperature_last, .presence_penalty = 0.4f, .penalty_window = 0}));
  EXPECT_EQ(request.ignored.size(), 5u);
}

TEST(CompletionRequestTest, EverySamplerHasItsNamesInTheList) {
  const std::string members = R"("temperature":2,"min_p":0.4,"top_p":0.9,"top_k":5,"presence_penalty":0.4,"samplers":)";
  for (const char* list :
       {R"(["penalties","top_k","top_p","min_p","temperature"])", R"(["penalties","top-k","top-p","min-p","temp"])"}) {
    const auto request = parse_with_prompt(members + list);
    EXPECT_EQ(request.ignored, std::vector<std::string>{}) << list;
    EXPECT_TRUE(request.sampler.temperature_last);
  }
}

TEST(CompletionRequestTest, OtherProgramsSamplersAreNamedForTheLog) {
  const auto request = parse_with_prompt(
      R"("dry_multiplier":0.8,"xtc_probability":0,"typical_p":1,"top_n_sigma":-1,"tfs_z":0.9,"n_probs":10)");
  EXPECT_EQ(request.ignored, (std::vector<std::string>{"dry_multiplier", "tfs_z", "n_probs"}));
}

TEST(CompletionRequestTest, ReadsWhatIsNoSampler) {
  const auto llama = parse_with_prompt(
      R"("n_predict":7,"stop":["▄",""],"stream":true,"seed":12,"ignore_eos":true,"cache_prompt":true,"return_tokens":true)");
  EXPECT_EQ(llama.max_tokens, 7);
  EXPECT_EQ(llama.stops, std::vector<std::string>{"▄"});
  EXPECT_TRUE(llama.stream && llama.ignore_eos && llama.return_tokens);
  EXPECT_EQ(llama.seed, 12u);
  EXPECT_FALSE(parse_with_prompt(R"("seed":-1)").seed);
  EXPECT_EQ(parse_with_prompt("").max_tokens, -1);

  const auto openai = parse_with_prompt(
      R"("model":"m","max_tokens":7,"n":3,"best_of":3,"stop":"▄","stream_options":{"include_usage":true},"logit_bias":{})",
      Interface::kOpenAi);
  EXPECT_EQ(openai.max_tokens, 7);
  EXPECT_EQ(openai.choices, 3);
  EXPECT_EQ(openai.stops, std::vector<std::string>{"▄"});
  EXPECT_TRUE(openai.stream_usage);
  EXPECT_EQ(parse_with_prompt("", Interface::kOpenAi).max_tokens, 16);
}

TEST(CompletionRequestTest, APromptIsTextOrIds) {
  using Ids = std::vector<std::int32_t>;
  EXPECT_EQ(std::get<std::string>(parse(R"("prompt":"▀a")").prompt), "▀a");
  EXPECT_EQ(std::get<std::string>(parse(R"("prompt":["a"])").prompt), "a");
  EXPECT_EQ(std::get<Ids>(parse(R"("prompt":[1,99,0])").prompt), (Ids{1, 99, 0}));
  EXPECT_EQ(std::get<Ids>(parse(R"("prompt":[[1,2]])").prompt), (Ids{1, 2}));
}

struct RefusedCase {
  const char* members;
  const char* field;
};

TEST(CompletionRequestTest, RefusesWithTheNameOfTheField) {
  const RefusedCase cases[] = {
      {R"("x":1)", "prompt"},
      {R"("prompt":5)", "prompt"},
      {R"("prompt":[])", "prompt"},
      {R"("prompt":["a","b"])", "prompt"},
      {R"("prompt":["a",1])", "prompt"},
      {R"("prompt":[1,"a"])", "prompt"},
      {R"("prompt":[100])", "prompt"},
      {R"("prompt":[-1])", "prompt"},
      {R"("prompt":[1.5])", "prompt"},
      {R"("prompt":[[1],[2]])", "prompt"},
      {R"("prompt":"x","temperature":"1")", "temperature"},
      {R"("prompt":"x","temperature":-0.1)", "temperature"},
      {R"("prompt":"x","temperature":1e999)", "temperature"},
      {R"("prompt":"x","temperature":true)", "temperature"},
      {R"("prompt":"x","top_p":1.1)", "top_p"},
      {R"("prompt":"x","top_k":1.5)", "top_k"},
      {R"("prompt":"x","top_k":-2)", "top_k"},
      {R"("prompt":"x","min_p":-0.1)", "min_p"},
      {R"("prompt":"x","repeat_penalty":0)", "repeat_penalty"},
      {R"("prompt":"x","repeat_last_n":-2)", "repeat_last_n"},
      {R"("prompt":"x","mirostat":1)", "mirostat"},
      {R"("prompt":"x","mirostat":3)", "mirostat"},
      {R"("prompt":"x","mirostat_tau":-1)", "mirostat_tau"},
      {R"("prompt":"x","stop":5)", "stop"},
      {R"("prompt":"x","stop":[5])", "stop"},
      {R"("prompt":"x","stream":1)", "stream"},
      {R"("prompt":"x","seed":"a")", "seed"},
      {R"("prompt":"x","seed":-2)", "seed"},
      {R"("prompt":"x","n_predict":-3)", "n_predict"},
      {R"("prompt":"x","samplers":"kpm")", "samplers"},
      {R"("prompt":"x","grammar":"root ::= x")", "grammar"},
      {R"("prompt":"x","json_schema":{"type":"object"})", "json_schema"},
      {R"("prompt":"x","logit_bias":[[5,-100]])", "logit_bias"},
      {R"("prompt":"x","response_format":{"type":"json_object"})", "response_format"},
      {R"("prompt":"x","temperature":2,"min_p":0.1,"top_k":5,"samplers":["top_k","temperature","min_p"])", "samplers"},
      {R"("prompt":"x","min_p":0.1,"top_k":5,"samplers":["min_p","top_k"])", "samplers"},
  };
  for (const RefusedCase& c : cases) {
    try {
      parse(c.members);
      ADD_FAILURE() << c.members << " is accepted";
    } catch (const RequestError& error) {
      EXPECT_EQ(error.status, 400) << c.members;
      EXPECT_EQ(error.field, c.field) << c.members << ": " << error.message;
    }
  }
}

TEST(CompletionRequestTest, RefusesWhatOpenAiHasAndThisServerHasNot) {
  for (const auto& [members, field] :
       {RefusedCase{R"("echo":true)", "echo"}, RefusedCase{R"("suffix":"a")", "suffix"}, RefusedCase{R"("n":9)", "n"},
        RefusedCase{R"("n":0)", "n"}, RefusedCase{R"("n":1,"best_of":2)", "best_of"},
        RefusedCase{R"("max_tokens":"5")", "max_tokens"}, RefusedCase{R"("stream_options":1)", "stream_options"}}) {
    try {
      parse_with_prompt(members, Interface::kOpenAi);
      ADD_FAILURE() << members << " is accepted";
    } catch (const RequestError& error) {
      EXPECT_EQ(error.field, field) << members;
    }
  }
}

TEST(CompletionRequestTest, FieldsThatDoNotExistHereAreEmptyOrRefused) {
  const struct {
    const char* field;
    const char* empty;  // what clients send that do not use it
    std::vector<const char*> refused;
  } cases[] = {
      {"grammar", R"("")", {R"("root ::= x")", "true", "false", "5", "[]", "{}"}},
      {"grammar_string", R"("")", {"true", "[]"}},
      {"suffix", R"("")", {R"("a")", "true", "0", "[]", "{}"}},
      {"json_schema", "{}", {R"({"type":"object"})", "true", "false", "5", "[]", R"("")"}},
      {"logit_bias", "{}", {R"({"5":1})", "true", "false", "5", R"("")", "[[5,1]]"}},
      {"logit_bias", "[]", {}},
  };
  for (const auto& c : cases) {
    const auto member = [&c](const char* value) { return "\"" + std::string(c.field) + "\":" + value; };
    EXPECT_NO_THROW(parse_with_prompt(member(c.empty))) << c.field;
    EXPECT_NO_THROW(parse_with_prompt(member("null"))) << c.field;
    for (const char* value : c.refused) {
      try {
        parse_with_prompt(member(value));
        ADD_FAILURE() << member(value) << " is accepted";
      } catch (const RequestError& error) {
        EXPECT_EQ(error.field, c.field) << error.message;
      }
    }
  }
}

TEST(CompletionRequestTest, RefusesWhatIsNoJsonObject) {
  const std::string deep(1000, '[');
  for (const std::string& body :
       {std::string("{"), std::string("[]"), std::string(), std::string("{\"prompt\":\"\xff\"}"),
        std::string("{\"prompt\":\"x\",\"prompt\":\"y\"}"), "{\"prompt\":" + deep}) {
    EXPECT_THROW(parse_completion_request(body, Interface::kLlama, kVocab), RequestError) << body;
  }
}

}  // namespace
}  // namespace shori
