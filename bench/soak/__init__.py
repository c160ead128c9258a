"""The soak: many pairs of rude clients for many minutes, and the proof that every word arrived where it belongs.

What a client of the soak may do is chosen so that "exactly what the other said" is well defined, and is no less than
what real clients do:

- **Words.** Each prompt and each answer has words that nobody can guess and that are said only once. So a word that
  turns up anywhere else, or twice, is a defect, and cannot be a coincidence.
- **A prompt** is said until it is answered or given up. A call that is lost (cut, timed out, reset, ended by a 5xx) is
  tried again with the same body, marked as the dialect's SDK marks retries, streamed or not. Where the SDK has no
  mark (Gemini, Cohere, Ollama), a retry of a call whose answer was on its way already cannot be told from a user who
  says the same words again; the transcript counts these, and such a prompt may be shown, and answered, once more.
- **An asker that gives up** says so in its own transcript, and its next prompt is a new one. What becomes of the old
  one (shown, answered, told as undelivered) is then no fault, if it only stays out of every other prompt's answer.
- **An asker with parallel prompts** names its role (header or model suffix); order is what each of its conversations
  says by itself. Where roles are not named, the first turn is a calm one, for roles are found by it: an app that hangs
  up on its very first words before anybody joined can be taken for somebody else.
- **An answer** is said to the prompt that was shown last. If its call is lost, the answerer does not know whether the
  answer was taken. It then tries the same call again, or says other words to the same prompt (it quotes that prompt,
  so only one of both can be taken), or says a join word and is shown what is open, or leaves and joins again. A
  client that neither marks nor quotes (Ollama's generate) can only join: with any other words nobody could know which
  prompt they belong to.
- **An answer was taken** for certain if its call ended with another prompt. That prompt is then never shown again.
- **At the end** all rudeness stops, every prompt that was not given up is said until it is answered, and the sessions
  are ended by the operator. Then nothing may be left in the process: no task, flow, connection, descriptor, or memory.
- **Kills** of the proxy, which keeps its sessions in SQLite, are a lost call to every client, and nothing more.

Modules: ``wires`` (how the ten dialects write and read), ``connection`` (sockets, and how a call goes wrong), ``sides``
(the two clients), ``transcript`` (what is a fault), ``census`` (an addon that counts what a process holds),
``processes`` (the proxy), ``run`` (the phases), ``__main__`` (the command).
"""
