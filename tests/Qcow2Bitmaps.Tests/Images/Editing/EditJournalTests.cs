using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Qcow2Bitmaps.Images.Editing;
using Qcow2Bitmaps.Images.Header;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>Journals of edits of several images that are damaged, forged, or something else.</summary>
public sealed class EditJournalTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>Whoever gives the path of something else by mistake still has it.</summary>
    [Theory]
    [InlineData("")]
    [InlineData("something else")]
    [InlineData("qcow2bitmaps edit journal 1\nand not whole")]
    public async Task WhatIsNoJournalIsLeftAlone(string text)
    {
        string path = _folder.File("journal");
        await File.WriteAllTextAsync(path, text, Token);
        await using Qcow2Image image = await OpenAsync(new TestImage().WithBitmap("a").Build());

        await Assert.ThrowsAsync<IOException>(
            async () => await new BitmapEditSet().Add(image, static edit => edit.Clear("a")).CommitAsync(path, Token));

        Assert.Equal(text, await File.ReadAllTextAsync(path, Token));
    }

    [Fact]
    public void AJournalReadsAsWritten()
    {
        JournalEntry entry = new(
            "/a", 5, [new JournalDirectory(4096, 24, new byte[32])],
            new SwitchPlan([[new SectorWrite(120, new byte[] { 1 }, new byte[] { 2 })], []]));
        JournalEntry read = Assert.Single(EditJournal.Read(EditJournal.ToBytes([entry])));
        Assert.Equal(EditJournal.ToBytes([entry]), EditJournal.ToBytes([read]));
    }

    /// <summary>Any number in a journal may be anything: its hash is no secret.</summary>
    [Fact]
    public void NumbersOfAForgedJournalAreChecked()
    {
        byte[] journal = EditJournal.ToBytes(
            [
                new JournalEntry(
                    "/a", 5, [new JournalDirectory(4096, 24, new byte[32])],
                    new SwitchPlan([[new SectorWrite(120, new byte[] { 1 }, new byte[] { 2 })]]))]);
        foreach (long number in (long[])[-1, 1, 17, int.MaxValue, 1L + int.MaxValue, long.MinValue, long.MaxValue])
        {
            for (int at = 0; at + sizeof(long) <= journal.Length - SHA256.HashSizeInBytes; at++)
            {
                byte[] forged = [.. journal[..^SHA256.HashSizeInBytes]];
                BinaryPrimitives.WriteInt64BigEndian(forged.AsSpan(at), number);
                Exception? error = Record.Exception(() => EditJournal.Read([.. forged, .. SHA256.HashData(forged)]));
                Assert.True(error is null or IOException, $"{number} at {at}: {error}");
            }
        }
    }

    /// <summary>A journal can be forged by whoever may write beside an image; it must not lead the image to another file.</summary>
    [Fact]
    public async Task AForgedJournalDoesNotChangeTheBackingFile()
    {
        byte[] bytes = new TestImage { BackingFile = "good.qcow2" }.WithBitmap("a").Build();
        var storage = new MemoryStorage(bytes);
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
        var rename = new SectorWrite((int)image.Header.BackingFileOffset, Encoding.UTF8.GetBytes("good"), Encoding.UTF8.GetBytes("evil"));
        string path = _folder.File("journal");
        await File.WriteAllBytesAsync(
            path, EditJournal.ToBytes([new JournalEntry(Path.GetFullPath(image.Name), null, [], new SwitchPlan([[], [rename]]))]), Token);

        await Assert.ThrowsAsync<IOException>(async () => await BitmapEditSet.RecoverAsync(path, [image], Token));

        Assert.Equal(bytes, storage.ToArray());
    }

    private static async Task<Qcow2Image> OpenAsync(byte[] bytes) =>
        await Qcow2Image.OpenAsync(new MemoryStorage(bytes), cancellationToken: Token);
}
