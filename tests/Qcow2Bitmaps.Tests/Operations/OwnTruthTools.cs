using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Images.Resizing;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>The library does it, in this process: several times as fast as QEMU's processes.</summary>
internal sealed class OwnTruthTools : ITruthTools
{
    public bool RecordsResizes => true;

    public bool CanShrink => true;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public Task CreateAsync(string path, Qcow2CreateOptions options) => Qcow2Image.CreateAsync(path, options, Token);

    public async Task WriteAsync(string path, IReadOnlyList<TruthWrite> writes)
    {
        await using ImageChain chain = await OpenAsync(path);
        await using Disk writer = await chain.OpenWriterAsync(Token);
        foreach (TruthWrite write in writes)
        {
            await (write.Kind switch
            {
                TruthWriteKind.Discard => writer.DiscardAsync(write.OffsetBytes, write.LengthBytes, Token),
                TruthWriteKind.Data => writer.WriteAsync(write.OffsetBytes, Data(write), Token),
                _ => writer.WriteZerosAsync(write.OffsetBytes, write.LengthBytes, write.Kind == TruthWriteKind.UnmappedZeros, Token),
            });
        }
    }

    public async Task CrashAsync(string path, IReadOnlyList<TruthWrite> writes)
    {
        byte[] crashed;
        await using (ImageChain chain = await OpenAsync(path))
        {
            await using RecordingSession session = await RecordingSession.OpenAsync(chain, leaveOpen: true, Token);
            foreach (TruthWrite write in writes)
            {
                await (write.Kind switch
                {
                    TruthWriteKind.Discard => session.DiscardAsync(write.OffsetBytes, write.LengthBytes, Token),
                    TruthWriteKind.Data => session.WriteAsync(write.OffsetBytes, Data(write), Token),
                    _ => session.WriteZerosAsync(write.OffsetBytes, write.LengthBytes, write.Kind == TruthWriteKind.UnmappedZeros, Token),
                });
            }

            await session.FlushAsync(Token);
            crashed = await File.ReadAllBytesAsync(path, Token);
        }

        await File.WriteAllBytesAsync(path, crashed, Token);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite, cancellationToken: Token);
        await image.RepairAsync(RepairKinds.Leaks, Token);
    }

    public async Task<string?> ResizeAsync(string path, long sizeBytes)
    {
        try
        {
            await using ImageChain chain = await OpenAsync(path);
            Disk? below = chain.Layers.Count > 1 ? (await chain.OpenDataAsync(Token)).From(1) : null;
            await chain.Layers[0].RequireImage().ResizeAsync(
                sizeBytes, new Qcow2ResizeOptions { AllowShrink = true, Backing = below }, Token);
            return null;
        }
        catch (Qcow2Exception e) when (IsRefusal(e))
        {
            return e.Message;
        }
    }

    public async Task<string?> BitmapAsync(string path, string action, string name, long granularityBytes)
    {
        try
        {
            await using Qcow2Image image = await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite, cancellationToken: Token);
            await image.Bitmaps.EditAsync(
                edit => _ = action switch
                {
                    "add" => edit.Add(name, granularityBytes),
                    "remove" => edit.Remove(name),
                    "clear" => edit.Clear(name),
                    "enable" => edit.Enable(name),
                    _ => edit.Disable(name),
                },
                Token);
            return null;
        }
        catch (Qcow2Exception e) when (IsRefusal(e))
        {
            return e.Message;
        }
    }

    public async Task CheckAsync(string path)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, cancellationToken: Token);
        CheckReport report = await image.CheckAsync(Token);
        Assert.True(
            report.Findings.Count == 0, $"check {path}: {string.Join("; ", report.Findings.Select(static finding => finding.Message))}");
    }

    public async Task<byte[]> ReadAsync(string path)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(path, cancellationToken: Token);
        var bytes = new byte[chain.Layers[0].VirtualSizeBytes];
        Assert.Equal(bytes.Length, await chain.ReadAsync(0, bytes, Token));
        return bytes;
    }

    private static bool IsRefusal(Qcow2Exception e) =>
        e is BitmapStateException
            or Qcow2UnsupportedException { Reason: UnsupportedReason.Version2 or UnsupportedReason.BitmapsInVersion2 };

    private static Task<ImageChain> OpenAsync(string path) =>
        ImageChain.OpenAsync(path, new ChainOpenOptions { WritableLayers = [0] }, Token);

    private static byte[] Data(TruthWrite write)
    {
        var bytes = new byte[write.LengthBytes];
        bytes.AsSpan().Fill(write.Pattern);
        return bytes;
    }
}
