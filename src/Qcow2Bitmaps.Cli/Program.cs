using Qcow2Bitmaps.Cli;
using Qcow2Bitmaps.Cli.Output;

StandardStreams.OccupyClosed();
return await CommandLine.InvokeAsync(RawArguments.Of(args)).ConfigureAwait(false);
