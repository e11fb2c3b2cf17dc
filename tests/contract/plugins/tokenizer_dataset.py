"""What plugins do with self.tokenizer."""

from evalscope.perf.plugin.datasets.base import DatasetPluginBase
from evalscope.perf.plugin.datasets.utils import tokenize_chat_messages, truncate_text_to_token_len
from evalscope.perf.plugin.registry import register_dataset


@register_dataset("my_tokens")
class MyTokens(DatasetPluginBase):
    def build_messages(self):
        tokenizer = self.tokenizer
        text = "which way does the river run past the old mill"
        ids = tokenizer.encode(text, add_special_tokens=False)
        chat = [{"role": "user", "content": text}]
        rendered = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        facts = [
            len(tokenizer),
            len(ids),
            tokenizer(text)["input_ids"] == tokenizer.encode(text),
            tokenizer.decode(ids[:5]),
            len(tokenizer.get_vocab()),
            tokenizer.eos_token,
            tokenizer.eos_token_id,
            tokenizer.convert_ids_to_tokens(ids[:2]),
            tokenizer.tokenize("the river"),
            rendered,
            len(tokenize_chat_messages(tokenizer, chat)),
            truncate_text_to_token_len(text, 4, tokenizer),
            tokenizer.eos_token_id in tokenizer.all_special_ids,
            self.check_prompt_length(text),
            self.content_token_len(text),
        ]
        for fact in facts:
            yield [self.create_message(str(fact))]
