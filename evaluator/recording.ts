// Captures that are written: beside an evaluation, or alone.

import { Exit, Failure } from "./exit.ts";
import { CaptureWriter } from "./input/capture.ts";
import type { Frame } from "./input/records.ts";
import { whyNotWritten } from "./output/file.ts";

/** A recording beside the evaluation: when it fails, it ends, is told, and the evaluation goes on. */
export class Recording {
  failure: Failure | null = null;

  constructor(
    private readonly target: CaptureWriter,
    private readonly say: (line: string) => void,
  ) {}

  write(frame: Frame): void {
    if (!this.failure) this.target.write(frame);
  }

  flush(): Promise<void> {
    return this.attempt(() => this.target.flush());
  }

  /** The stream has ended without saying so. */
  endStream(wasCut: boolean): Promise<void> {
    this.target.endStream(wasCut);
    return this.flush();
  }

  close(): Promise<void> {
    return this.attempt(() => this.target.close());
  }

  private async attempt(step: () => Promise<void>): Promise<void> {
    if (this.failure) return;
    try {
      await step();
    } catch (error) {
      this.failure = new Failure(
        Exit.io,
        `${this.target.path}: ${(error as Error).message}: the recording is not complete`,
      );
      this.say(this.failure.message);
    }
  }
}

/** Creates a capture, or empties it. @throws Failure */
export function openRecording(path: string): CaptureWriter {
  try {
    return new CaptureWriter(path);
  } catch (error) {
    throw new Failure(Exit.io, `${path}: ${whyNotWritten(error as NodeJS.ErrnoException, path)}`);
  }
}

/** Takes a step of writing a capture. @throws Failure when it does not work */
export async function writeRecording(recording: CaptureWriter, step: () => Promise<void>): Promise<void> {
  try {
    await step();
  } catch (error) {
    throw new Failure(Exit.io, `${recording.path}: ${(error as Error).message}: the recording ends here`);
  }
}
