using Qcow2Bitmaps;
using Qcow2Bitmaps.Operations;

// ColdMerge TOP BASE [CHECKPOINT…]: merges the snapshot TOP into BASE, the image right below it, while no machine runs, as oVirt's storage
// manager does. The checkpoints are those that the manager's database knows. Prints what it did; exit code 0 when every checkpoint is a
// valid bitmap afterwards, 2 when one is not, 1 on an error.
if (args.Length < 2)
{
    await Console.Error.WriteLineAsync("usage: ColdMerge TOP BASE [CHECKPOINT...]");
    return 1;
}

string top = args[0];
string @base = args[1];
string[] checkpoints = args[2..];
try
{
    // 1. What is there, beside what is expected. A checkpoint that is missing or unusable means that this disk's next
    // backup is a full one; the others stay incremental.
    Reconciliation found;
    await using (ImageChain chain = await ImageChain.OpenAsync(top))
    {
        if (chain.IndexOf(@base) != 1)
        {
            await Console.Error.WriteLineAsync($"{@base} is not right below {top}");
            return 1;
        }

        found = await ChainBitmaps.ReconcileAsync(chain, checkpoints);
    }

    await SayAsync("valid", found.Valid);
    await SayAsync("missing", found.Missing);
    await SayAsync("unusable", found.Unusable.Select(static verdict => $"{verdict.Name} ({verdict.Reason})"));
    await SayAsync("surplus", found.Surplus);

    // 2. Prune: what nobody expects or can use takes space, and would be carried along.
    string[] useless = [.. found.ToDrop];
    if (useless.Length > 0)
    {
        await using ImageChain chain = await ChainAccess.OpenAsync(
            top, ChainOpenOptions.Default, look => ChainBitmaps.Holders(look, useless));
        await SayAllAsync(await ChainBitmaps.DeleteAsync(chain, useless));
    }

    // 3. Measure: how long BASE will be, bitmaps included; a manager extends its volume to that.
    await using (ImageChain chain = await ImageChain.OpenAsync(top))
    {
        ImageRoom room = (await ChainMeasurement.OfCommitAsync(chain, top: 0, @base: 1)).Target;
        await Console.Out.WriteLineAsync($"base: {room.CurrentBytes} bytes, {room.RequiredBytes} needed");
    }

    // 4. Merge: bits first, then data. A full volume is refused before anything is lost; a merge that was stopped is run again.
    await using (ImageChain chain = await ChainAccess.OpenAsync(
        top, ChainOpenOptions.Default, static look => ChainCommit.WritableLayers(look, top: 0, @base: 1)))
    {
        ChainResult result = await ChainCommit.RunAsync(chain, top: 0, @base: 1);
        await SayAllAsync(result.Bitmaps);
        await Console.Out.WriteLineAsync($"copied {result.CopiedBytes} bytes");
    }

    // 5. Look at what the disk is now, before TOP is removed.
    await using ImageChain merged = await ImageChain.OpenAsync(@base);
    bool isInOrder = true;
    foreach (string checkpoint in checkpoints)
    {
        BitmapVerdict verdict = await merged.JudgeBitmapAsync(checkpoint);
        await Console.Out.WriteLineAsync(verdict.ToString());
        isInOrder &= verdict.IsValid;
    }

    return isInOrder ? 0 : 2;
}
catch (NoSpaceException e)
{
    await Console.Error.WriteLineAsync(
        $"extend the volume by {e.NeededBytes - (e.AvailableBytes ?? 0)} bytes and run this again: {e.Message}");
    return 1;
}
catch (IOException e)
{
    await Console.Error.WriteLineAsync(e.Message);
    return 1;
}

static Task SayAsync(string what, IEnumerable<string> names) =>
    Console.Out.WriteLineAsync($"{what}: {string.Join(", ", names.DefaultIfEmpty("none"))}");

static async Task SayAllAsync(IEnumerable<BitmapChange> changes)
{
    foreach (BitmapChange change in changes)
    {
        await Console.Out.WriteLineAsync(change.ToString());
    }
}
