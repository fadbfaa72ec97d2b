using Qcow2Bitmaps.Cli;

return await CommandLine.InvokeAsync(RawArguments.Of(args)).ConfigureAwait(false);
